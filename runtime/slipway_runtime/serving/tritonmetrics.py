"""The process's counts under the names of Triton's metrics, for dashboards and autoscalers that know those.

Source: https://github.com/triton-inference-server/server/blob/main/docs/user_guide/metrics.md
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from slipway_runtime.dispatch.counts import DispatchCounts
from slipway_runtime.protocol.v2.metadata import MODEL_VERSION
from slipway_runtime.serving.statistics import CountedStatistics
from slipway_runtime.telemetry.counts import SHED, RequestCounts
from slipway_runtime.telemetry.record import CLIENT_CLOSED

_REASONS: Final = ("REJECTED", "CANCELED", "BACKEND", "OTHER")
_MICROSECONDS: Final = 1e6


class TritonMetrics(Collector):
    """Made of what the runtime's own families and the statistics are made of."""

    def __init__(
        self, model: str, statistics: CountedStatistics, requests: RequestCounts, dispatched: DispatchCounts
    ) -> None:
        self._labels = {"model": model, "version": MODEL_VERSION}
        self._statistics = statistics
        self._requests = requests
        self._dispatched = dispatched

    def collect(self) -> Iterator[Metric]:
        told = self._statistics.model_statistics()
        yield self._counter("request_success", "Predictions that were answered.", told.success.count)
        failures = Counter[str]()
        for (status, code), count in self._requests.failures().items():
            failures[_reason(status, code)] += count
        failed = self._family("request_failure", "Predictions that were not.")
        for reason in _REASONS:
            failed.add_sample(failed.name, {**self._labels, "reason": reason}, failures[reason])
        yield failed
        yield self._counter("count", "Rows of the answered predictions.", told.rows)
        executions = sum([spent.count for spent in told.batches.values()])
        yield self._counter("exec_count", "Batches that the model computed.", executions)
        for name, spent in (
            ("request", told.success),
            ("queue", told.queue),
            ("compute_input", told.compute_input),
            ("compute_infer", told.compute_infer),
            ("compute_output", told.compute_output),
        ):
            words = "Time of the answered predictions, in microseconds."
            yield self._counter(f"{name}_duration_us", words, int(spent.seconds * _MICROSECONDS))
        pending = GaugeMetricFamily(
            "nv_inference_pending_request_count", "Predictions that wait for a batch.", labels=tuple(self._labels)
        )
        pending.add_metric(tuple(self._labels.values()), self._dispatched.outlook().queued_requests)
        yield pending

    def _counter(self, name: str, documentation: str, value: float) -> Metric:
        family = self._family(name, documentation)
        family.add_sample(family.name, self._labels, value)
        return family

    def _family(self, name: str, documentation: str) -> Metric:
        """Of no type: a counter's samples would have to end in `_total`, and Triton's do not."""
        return Metric(f"nv_inference_{name}", documentation, "unknown")


def _reason(status: int, code: str) -> str:
    """In Triton's words."""
    if status == CLIENT_CLOSED:
        return "CANCELED"
    if code in SHED:
        return "REJECTED"
    return "BACKEND" if status >= 500 else "OTHER"
