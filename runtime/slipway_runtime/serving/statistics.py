"""The process's counts in the words of Triton's statistics extension."""

from __future__ import annotations

from slipway_runtime.dispatch.counts import DispatchCounts
from slipway_runtime.protocol.v2.statistics import ModelStatistics, Spent
from slipway_runtime.telemetry.counts import RequestCounts


class CountedStatistics:
    """`protocol.v2.statistics.Statistics`. May be asked from any thread."""

    def __init__(self, dispatched: DispatchCounts, requests: RequestCounts) -> None:
        self._dispatched = dispatched
        self._requests = requests

    def model_statistics(self) -> ModelStatistics:
        counts = self._dispatched
        answered = counts.answered
        known = self._requests.predictions
        return ModelStatistics(
            success=Spent(known.answered, known.answered_seconds),
            fail=Spent(known.failed, known.failed_seconds),
            queue=Spent(answered, counts.queue_seconds),
            compute_input=Spent(answered, known.decode_seconds),
            compute_infer=Spent(answered, counts.compute_seconds),
            compute_output=Spent(answered, known.encode_seconds),
            rows=counts.answered_rows,
            batches={rows: Spent(count, seconds) for rows, (count, seconds) in counts.batches.copy().items()},
            last_inference_milliseconds=int(1000 * known.last_at),
        )
