"""Spans as a real receiver of OpenTelemetry's protocol gets them."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from slipway_runtime.contract import RuntimeConfig
from slipway_runtime.lifecycle import Lifecycle
from slipway_runtime.metrics import Metrics
from slipway_runtime.telemetry.record import RequestRecord
from slipway_runtime.telemetry.telemetry import Telemetry
from tests.unit.rt.otlp import Receiver, attributes

pytestmark = pytest.mark.unit

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE_ID}-{SPAN_ID}-01", f"00-{TRACE_ID}-{SPAN_ID}-00"


@pytest.fixture(autouse=True)
def _no_threads_left() -> Iterator[None]:
    """An exporter that still tries to send draws random numbers while other tests count on theirs."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        assert not thread.is_alive(), thread


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    started = Receiver()
    yield started
    started.close()


@pytest.fixture
def trace(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Telemetry]]:
    made: list[Telemetry] = []

    def make(uri: str, **variables: str) -> Telemetry:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", uri)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        config = RuntimeConfig.model_validate(
            {"name": "m", "artifact": {"uri": "file:///m"}, "accessLog": {"enabled": False}}
        )
        telemetry = Telemetry(config, Metrics(Lifecycle()), call_later=lambda seconds, call: None)
        made.append(telemetry)
        return telemetry

    yield make
    for telemetry in made:
        telemetry.close()


def request(telemetry: Telemetry, traceparent: str | None = None, **more: object) -> RequestRecord:
    record = RequestRecord("v2", "POST", "/v2/models/m/infer", "10.0.0.1", "id-1")
    record.decode_seconds, record.queue_seconds, record.compute_seconds = 0.001, 0.002, 0.003
    record.batch_rows, record.total_seconds = 4, 0.01
    record.status = 200
    for name, value in more.items():
        setattr(record, name, value)
    telemetry.begin(record, traceparent)
    telemetry.finish(record)
    return record


def test_a_request_is_a_span_of_its_callers_trace(receiver: Receiver, trace: Callable[..., Telemetry]) -> None:
    telemetry = trace(receiver.uri)
    record = request(telemetry, SAMPLED)
    telemetry.close()
    (span,) = receiver.spans
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE_ID, SPAN_ID)
    assert span.span_id.hex() == record.span_id
    assert span.name == "POST /v2/models/m/infer"
    assert span.kind == span.SPAN_KIND_SERVER
    assert span.end_time_unix_nano - span.start_time_unix_nano == pytest.approx(10e6, abs=2000)
    events = {event.name: event.time_unix_nano - span.start_time_unix_nano for event in span.events}
    assert events == {
        "decode": pytest.approx(1e6, abs=2000),
        "queue": pytest.approx(3e6, abs=2000),
        "compute": pytest.approx(6e6, abs=2000),
    }
    told = attributes(span)
    assert told["http.response.status_code"] == 200
    assert told["slipway.batch.rows"] == 4
    assert told["client.address"] == "10.0.0.1"
    assert receiver.resources[0]["service.name"] == "slipway-runtime"
    assert receiver.resources[0]["slipway.model"] == "m"
    assert span.start_time_unix_nano / 1e9 == pytest.approx(time.time(), abs=60)


def test_the_requests_of_a_batch_are_linked_to_its_span(receiver: Receiver, trace: Callable[..., Telemetry]) -> None:
    telemetry = trace(receiver.uri)
    records = [request(telemetry, batch_started_at=5.0, worker="0") for _ in range(3)]
    other = request(telemetry, batch_started_at=6.0, worker="0")
    telemetry.close()
    spans = {span.span_id.hex(): span for span in receiver.spans}
    batches = [span for span in receiver.spans if span.name == "batch"]
    assert len(batches) == 2
    batch = next(span for span in batches if len(span.links) == 3)
    assert {link.span_id.hex() for link in batch.links} == {record.span_id for record in records}
    assert not batch.parent_span_id
    assert batch.end_time_unix_nano - batch.start_time_unix_nano == pytest.approx(3e6, abs=2000)
    assert attributes(batch) == {"slipway.batch.rows": 4, "slipway.worker": "0"}
    for record in records:
        (link,) = spans[record.span_id].links
        assert (link.span_id, link.trace_id) == (batch.span_id, batch.trace_id)
    (link,) = spans[other.span_id].links
    assert link.span_id != batch.span_id


def test_failures_are_marked(receiver: Receiver, trace: Callable[..., Telemetry]) -> None:
    telemetry = trace(receiver.uri)
    request(telemetry, status=500, code="model_error")
    request(telemetry, status=400, code="shape_mismatch")
    telemetry.close()
    failed, refused = receiver.spans
    assert (failed.status.code, failed.status.message) == (failed.status.STATUS_CODE_ERROR, "model_error")
    assert attributes(failed)["error.type"] == "model_error"
    assert refused.status.code == refused.status.STATUS_CODE_UNSET


@pytest.mark.parametrize(
    ("sampler", "traceparent", "sampled"),
    [
        ("always_on", None, True),
        ("always_off", None, False),
        ("always_off", SAMPLED, False),
        ("parentbased_always_off", SAMPLED, True),
        ("parentbased_always_on", UNSAMPLED, False),
        ("parentbased_always_on", None, True),
        ("traceidratio", None, False),
    ],
)
def test_the_sampler_is_opentelemetrys(
    receiver: Receiver, trace: Callable[..., Telemetry], sampler: str, traceparent: str | None, sampled: bool
) -> None:
    telemetry = trace(receiver.uri, OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG="0.0")
    record = request(telemetry, traceparent)
    telemetry.close()
    assert bool(record.trace_flags & 1) is sampled
    assert len(receiver.spans) == int(sampled)
    assert record.trace_id  # known to the log all the same


def test_a_receiver_that_is_not_there_hurts_nobody(trace: Callable[..., Telemetry]) -> None:
    closed = Receiver()
    closed.close()
    telemetry = trace(closed.uri, OTEL_EXPORTER_OTLP_TIMEOUT="1")
    for _ in range(3000):  # more than the exporter's queue holds
        request(telemetry, SAMPLED, batch_started_at=1.0)
    begun = time.perf_counter()
    telemetry.close()
    assert time.perf_counter() - begun < 20


def test_a_receiver_that_refuses_hurts_nobody(trace: Callable[..., Telemetry]) -> None:
    refusing = Receiver(status=400)
    telemetry = trace(refusing.uri)
    request(telemetry, SAMPLED)
    telemetry.close()
    refusing.wait_for(lambda receiver: receiver.requests > 0)
    refusing.close()


def test_without_a_receiver_nothing_of_it_is_imported() -> None:
    script = """
import sys
from slipway_runtime.contract import ArtifactConfig, RuntimeConfig
from slipway_runtime.lifecycle import Lifecycle
from slipway_runtime.metrics import Metrics
from slipway_runtime.telemetry.telemetry import Telemetry
Telemetry(RuntimeConfig(name="m", artifact=ArtifactConfig(uri="x")), Metrics(Lifecycle()), call_later=print)
print([name for name in sys.modules if name.partition(".")[0] in ("opentelemetry", "grpc", "pynvml", "torch")])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env={})
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
