"""Requests and batches as OpenTelemetry spans. Imported only when an exporter is configured."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Thread
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from slipway_runtime.telemetry.counts import STAGES
from slipway_runtime.telemetry.record import RequestRecord
from slipway_runtime.telemetry.trace import SAMPLED, TraceParent, new_span_id, new_trace_id

_PROTOCOL_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_BATCH_SECONDS: Final = 0.2
"""The requests of one batch end within this of each other; then its span is closed."""
_MOST_LINKS: Final = 128
"""The SDK keeps no more of one span. Source: OpenTelemetry specification, span limits."""

log = logging.getLogger(__name__)

CallLater = Callable[[float, Callable[[], None]], object]


class GivenIds(IdGenerator):
    """A span's identifiers were told in the answer before the span is made."""

    def __init__(self) -> None:
        self.trace_id = ""
        self.span_id = ""

    def generate_trace_id(self) -> int:
        return int(self.trace_id, 16)

    def generate_span_id(self) -> int:
        return int(self.span_id, 16)


@dataclass(slots=True)
class _Batch:
    started_at: float
    seconds: float
    rows: int
    worker: str
    trace_id: str = field(default_factory=new_trace_id)
    span_id: str = field(default_factory=new_span_id)
    requests: list[SpanContext] = field(default_factory=list)


class Spans:
    """Used from the loop's thread; a thread of the SDK exports, and drops what the receiver does not take."""

    def __init__(self, model: str, call_later: CallLater) -> None:
        """`call_later` is the loop's. The rest comes from OpenTelemetry's own variables (`OTEL_…`)."""
        _check_protocol(os.environ)
        self._ids = GivenIds()
        resource = Resource.create({"slipway.model": model})
        if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: "slipway-runtime"}))
        # What is sampled is decided once, at a request's begin, because the answer tells it.
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=resource, id_generator=self._ids, shutdown_on_exit=False
        )
        self._sampler = TracerProvider(resource=Resource({}), shutdown_on_exit=False).sampler
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("slipway_runtime")
        self._batches: dict[tuple[float, str], _Batch] = {}
        self._call_later = call_later

    def sample(self, parent: TraceParent | None, trace_id: str) -> bool:
        """As `OTEL_TRACES_SAMPLER` says."""
        context = None if parent is None else _remote(parent)
        decision = self._sampler.should_sample(context, int(trace_id, 16), "request", SpanKind.SERVER).decision
        return decision is Decision.RECORD_AND_SAMPLE

    def add(self, record: RequestRecord) -> None:
        """One server span, with an event at the end of each stage."""
        offset = time.time() - time.perf_counter()
        links = []
        batch = self._join_batch(record)
        if batch is not None:
            links.append(Link(_context(batch.trace_id, batch.span_id)))
        parent = None
        if record.parent_span_id:
            parent = _remote(TraceParent(record.trace_id, record.parent_span_id, record.trace_flags))
        self._ids.trace_id, self._ids.span_id = record.trace_id, record.span_id
        span = self._tracer.start_span(
            _name(record),
            parent,
            SpanKind.SERVER,
            _attributes(record),
            links,
            start_time=_nanoseconds(record.started_at + offset),
        )
        at = record.started_at
        for stage in STAGES:
            seconds: float = getattr(record, f"{stage}_seconds")
            if seconds:
                at += seconds
                span.add_event(stage, {"seconds": seconds}, _nanoseconds(at + offset))
        if record.status >= 500:
            span.set_status(Status(StatusCode.ERROR, record.code))
        span.end(_nanoseconds(record.started_at + record.total_seconds + offset))

    def _join_batch(self, record: RequestRecord) -> _Batch | None:
        if not record.batch_started_at:
            return None
        key = record.batch_started_at, record.worker
        batch = self._batches.get(key)
        if batch is None:
            batch = _Batch(record.batch_started_at, record.compute_seconds, record.batch_rows, record.worker)
            self._batches[key] = batch
            self._call_later(_BATCH_SECONDS, lambda: self._end_batch(key))
        batch.requests.append(_context(record.trace_id, record.span_id))
        return batch

    def _end_batch(self, key: tuple[float, str]) -> None:
        batch = self._batches.pop(key, None)
        if batch is None:
            return
        offset = time.time() - time.perf_counter()
        self._ids.trace_id, self._ids.span_id = batch.trace_id, batch.span_id
        attributes: dict[str, Any] = {"slipway.batch.rows": batch.rows}
        if batch.worker:
            attributes["slipway.worker"] = batch.worker
        links = [Link(context) for context in batch.requests[:_MOST_LINKS]]
        span = self._tracer.start_span(
            "batch", Context(), links=links, attributes=attributes, start_time=_nanoseconds(batch.started_at + offset)
        )
        span.end(_nanoseconds(batch.started_at + batch.seconds + offset))

    def close(self, seconds: float) -> None:
        """Sends what waits, for `seconds` at most: a receiver that does not answer must not hold the process."""
        for key in list(self._batches):
            self._end_batch(key)
        ending = Thread(target=self._provider.shutdown, name="spans-close", daemon=True)
        ending.start()
        ending.join(seconds)


def _name(record: RequestRecord) -> str:
    """Few different names: paths that are no prediction's may be anything."""
    return record.method if record.protocol == "other" else f"{record.method} {record.path}"


def _attributes(record: RequestRecord) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "http.response.status_code": record.status,
        "url.path": record.path,
        "slipway.protocol": record.protocol,
        "slipway.request_id": record.request_id,
        "slipway.rows": record.rows,
        "slipway.batch.rows": record.batch_rows,
        "http.request.body.size": record.bytes_in,
        "http.response.body.size": record.bytes_out,
    }
    if record.protocol == "grpc":
        attributes |= {"rpc.system": "grpc", "rpc.method": record.path}
    else:
        attributes["http.request.method"] = record.method
    if record.client:
        attributes["client.address"] = record.client
    if record.code != "ok":
        attributes["error.type"] = record.code
    return attributes


def _context(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=TraceFlags(SAMPLED))


def _remote(parent: TraceParent) -> Context:
    context = SpanContext(
        int(parent.trace_id, 16), int(parent.span_id, 16), is_remote=True, trace_flags=TraceFlags(parent.flags)
    )
    return set_span_in_context(NonRecordingSpan(context))


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


def _check_protocol(environment: Mapping[str, str]) -> None:
    for name in _PROTOCOL_VARIABLES:
        value = environment.get(name, "http/protobuf")
        if value != "http/protobuf":
            log.warning("%s is %r; traces are sent by http/protobuf, the one protocol that is built in.", name, value)
