"""The one place that is told of every request, whatever protocol it came by."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Final

from slipway_runtime.contract import RuntimeConfig
from slipway_runtime.logs import LogFormat
from slipway_runtime.logwriter import write_out
from slipway_runtime.metrics import Metrics
from slipway_runtime.telemetry.accesslog import AccessLog
from slipway_runtime.telemetry.record import RequestGroup, RequestRecord
from slipway_runtime.telemetry.trace import SAMPLED, new_span_id, new_trace_id, parse_traceparent

if TYPE_CHECKING:
    from slipway_runtime.telemetry.spans import Spans

_ENDPOINT_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_CLOSE_SECONDS: Final = 1.0


class Telemetry:
    """Used from the event loop's thread. Nothing here blocks or raises."""

    def __init__(
        self,
        config: RuntimeConfig,
        metrics: Metrics,
        *,
        log_format: LogFormat = "json",
        call_later: Callable[[float, Callable[[], None]], object] | None = None,
    ) -> None:
        """`call_later` is the loop's; without it there are no traces."""
        self._counts = metrics.request_counts
        self._log: AccessLog | None = None
        if config.access_log.enabled:
            self._log = AccessLog(config.access_log, write_out, json=log_format == "json")
        self._spans: Spans | None = None
        if call_later is not None and traces_wanted(os.environ):
            from slipway_runtime.telemetry.spans import Spans

            self._spans = Spans(config.name, call_later)

    def begin(self, record: RequestRecord, traceparent: bytes | str | None = None) -> None:
        """A request came in. `traceparent` is the header as it was sent; a malformed one is ignored, as W3C asks."""
        self._counts.in_flight += 1
        if traceparent is None and self._spans is None:
            return
        parent = None if traceparent is None else parse_traceparent(traceparent)
        if parent is not None:
            record.trace_id, record.parent_span_id, record.trace_flags = parent
            record.span_id = new_span_id()
        elif self._spans is not None:
            record.trace_id, record.span_id = new_trace_id(), new_span_id()
        if self._spans is not None:
            sampled = self._spans.sample(parent, record.trace_id)
            record.trace_flags = record.trace_flags | SAMPLED if sampled else record.trace_flags & ~SAMPLED

    def finish(self, record: RequestRecord) -> None:
        """It was answered, or its client left. Exactly once after `begin`."""
        now = perf_counter()
        counts = self._counts
        counts.in_flight -= 1
        if not record.total_seconds:
            record.total_seconds = now - record.started_at
        counts.count(record)
        if self._log is not None:
            self._log.offer(record, now)
        if self._spans is not None and record.trace_flags & SAMPLED:
            self._spans.add(record)

    @property
    def traces(self) -> bool:
        """Whether requests are spans, so that each has to be told of alone."""
        return self._spans is not None

    def tell_all(self, group: RequestGroup) -> None:
        """Instead of `begin` and `finish` for each of them. They have no traces."""
        self._counts.count_all(group)
        if self._log is not None:
            self._log.offer_all(len(group.total_seconds), group.record, perf_counter())

    def close(self) -> None:
        """Writes out what is buffered; waits two seconds at most."""
        if self._spans is not None:
            self._spans.close(_CLOSE_SECONDS)
        if self._log is not None:
            self._log.close(_CLOSE_SECONDS)


def traces_wanted(environment: Mapping[str, str]) -> bool:
    """Whether OpenTelemetry's variables name a receiver and do not switch it off."""
    return (
        any(environment.get(name) for name in _ENDPOINT_VARIABLES)
        and environment.get("OTEL_SDK_DISABLED", "").lower() != "true"
        and environment.get("OTEL_TRACES_EXPORTER", "otlp") == "otlp"
    )
