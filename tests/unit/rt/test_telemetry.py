"""Requests counted, logged and traced, apart from any server."""

from __future__ import annotations

import json
import threading
import time
from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from slipway_runtime.contract import AccessLogConfig, ArtifactConfig, RuntimeConfig, SLAConfig
from slipway_runtime.lifecycle import Lifecycle
from slipway_runtime.metrics import Metrics
from slipway_runtime.telemetry.accesslog import AccessLog, TokenBucket, format_json, format_text
from slipway_runtime.telemetry.counts import DEPARTURES, SHED, RequestCounts
from slipway_runtime.telemetry.histogram import Histogram, with_edges
from slipway_runtime.telemetry.record import RequestRecord
from slipway_runtime.telemetry.reference import metrics_page
from slipway_runtime.telemetry.telemetry import Telemetry, traces_wanted
from slipway_runtime.telemetry.timing import server_timing
from slipway_runtime.telemetry.trace import parse_traceparent, traceresponse

pytestmark = pytest.mark.unit

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"


def finished(status: int = 200, code: str = "ok", **more: object) -> RequestRecord:
    record = RequestRecord("v2", "POST", "/v2/models/m/infer", "10.0.0.1", "id-1", status, code)
    record.total_seconds = 0.02
    for name, value in more.items():
        setattr(record, name, value)
    return record


def registered(sla: SLAConfig | None = None) -> tuple[RequestCounts, CollectorRegistry]:
    counts, registry = RequestCounts(sla or SLAConfig()), CollectorRegistry()
    registry.register(counts)
    return counts, registry


@given(st.lists(st.floats(0, 100)))
def test_a_histogram_counts_like_prometheus(values: list[float]) -> None:
    histogram = Histogram((0.5, 1.0, 50.0))
    for value in values:
        histogram.observe(value)
    buckets, total = histogram.buckets()
    expected = {edge: sum(value <= edge for value in values) for edge in (0.5, 1.0, 50.0)}
    assert buckets == [("0.5", expected[0.5]), ("1.0", expected[1.0]), ("50.0", expected[50.0]), ("+Inf", len(values))]
    assert total == pytest.approx(sum(values))


def test_an_edge_lies_on_every_target() -> None:
    _, registry = counted = registered(SLAConfig(p95_milliseconds=37, p99_milliseconds=50))
    counted[0].count(finished(total_seconds=0.037))
    counted[0].count(finished(total_seconds=0.0371))
    bucket = "slipway_runtime_request_duration_seconds_bucket"
    assert registry.get_sample_value(bucket, {"protocol": "v2", "le": "0.037"}) == 1
    assert registry.get_sample_value(bucket, {"protocol": "v2", "le": "0.05"}) == 2
    edges = with_edges((0.01, 0.05), (0.037, 0.05))
    assert edges == (0.01, 0.037, 0.05)
    assert bisect_left(edges, 0.05) == 2


def test_the_wait_in_the_queue_has_edges_at_parts_of_the_target() -> None:
    counts, registry = registered(SLAConfig(p95_milliseconds=40, p99_milliseconds=60))
    counts.count(finished(queue_seconds=0.0281))
    name = "slipway_runtime_request_stage_seconds_bucket"
    parts = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
    edges = [f"{0.04 * part:.9f}".rstrip("0") for part in parts]
    assert "0.012" in edges
    below = [registry.get_sample_value(name, {"stage": "queue", "le": str(float(edge))}) for edge in edges]
    assert below == [0] * 8 + [1], "the tighter target decides"
    assert registry.get_sample_value(name, {"stage": "compute", "le": "0.012"}) is None


def test_clients_that_left_are_counted_by_the_stage_they_left_in() -> None:
    counts, registry = registered()
    for stage in ("queue", "queue", "compute"):
        record = finished()
        record.leave(stage)
        counts.count(record)
    counts.count(finished(400, "invalid_http", left_in="read"))
    name = "slipway_runtime_client_disconnects_total"
    told = {stage: registry.get_sample_value(name, {"stage": stage}) for stage in DEPARTURES}
    assert told == {"read": 1, "decode": 0, "queue": 2, "compute": 1, "encode": 0, "write": 0}
    labels = {"protocol": "v2", "code": "499", "reason": "client_closed"}
    assert registry.get_sample_value("slipway_runtime_requests_total", labels) == 3


def test_what_is_not_computed_for_the_state_of_the_server_is_counted_by_its_reason() -> None:
    counts, registry = registered()
    for status, code in ((429, "queue_full"), (503, "loading"), (503, "draining"), (500, "model_error"), (200, "ok")):
        counts.count(finished(status, code))
    counts.count(RequestRecord(status=503, code="loading"))
    name = "slipway_runtime_shed_total"
    told = {reason: registry.get_sample_value(name, {"reason": reason}) for reason in SHED}
    assert {reason for reason, count in told.items() if count} == {"queue_full", "loading", "draining"}
    assert told["loading"] == 1, "what is no prediction is not refused work"


def test_requests_are_counted_by_protocol_status_and_reason() -> None:
    counts, registry = registered()
    for record in (finished(), finished(), finished(400, "shape_mismatch"), RequestRecord(status=200)):
        counts.count(record)

    def total(protocol: str, code: str, reason: str) -> float | None:
        labels = {"protocol": protocol, "code": code, "reason": reason}
        return registry.get_sample_value("slipway_runtime_requests_total", labels)

    assert total("v2", "200", "ok") == 2
    assert total("v2", "400", "shape_mismatch") == 1
    assert total("other", "200", "ok") == 1
    assert registry.get_sample_value("slipway_runtime_request_duration_seconds_count", {"protocol": "v2"}) == 3
    assert registry.get_sample_value("slipway_runtime_request_duration_seconds_count", {"protocol": "other"}) is None


@pytest.mark.parametrize(
    ("status", "total_seconds", "read_seconds", "met"),
    [
        (200, 0.05, 0.0, "true"),
        (200, 0.051, 0.0, "false"),
        (200, 3.0, 2.99, "true"),  # a slow upload is not the server's time
        (429, 0.001, 0.0, "false"),
        (504, 0.01, 0.0, "false"),
        (400, 0.01, 0.0, None),
        (499, 0.01, 0.0, None),
    ],
)
def test_the_target_is_met_by_good_answers_in_time(
    status: int, total_seconds: float, read_seconds: float, met: str | None
) -> None:
    counts, registry = registered(SLAConfig(p95_milliseconds=50))
    counts.count(finished(status, total_seconds=total_seconds, read_seconds=read_seconds))
    counted = {
        value: registry.get_sample_value("slipway_runtime_sla_requests_total", {"objective": "p95", "met": value})
        for value in ("true", "false")
    }
    assert counted == {value: float(value == met) for value in ("true", "false")}


@pytest.mark.parametrize(
    ("code", "timeout_seconds", "missed"),
    [
        ("deadline_in_queue", 0.000001, 0),
        ("deadline_running", 0.049, 0),
        ("predicted_late", 0.01, 0),
        ("deadline_in_queue", 0.05, 1),  # as long as the target: the server had its time
        ("deadline_running", None, 1),
        ("queue_full", 0.000001, 1),
        ("worker_restarted", 0.000001, 1),
    ],
)
def test_a_client_cannot_spend_the_error_budget_by_waiting_for_less_than_the_target(
    code: str, timeout_seconds: float | None, missed: int
) -> None:
    counts, registry = registered(SLAConfig(p95_milliseconds=50))
    counts.count(finished(504, code, timeout_seconds=timeout_seconds))
    name, labels = "slipway_runtime_sla_requests_total", {"objective": "p95"}
    assert registry.get_sample_value(name, labels | {"met": "false"}) == missed
    assert registry.get_sample_value(name, labels | {"met": "true"}) == 0


def test_stages_that_were_not_reached_are_not_counted() -> None:
    counts, registry = registered()
    counts.count(finished(decode_seconds=0.001))
    stage = "slipway_runtime_request_stage_seconds_count"
    assert registry.get_sample_value(stage, {"stage": "decode"}) == 1
    assert registry.get_sample_value(stage, {"stage": "compute"}) == 0


def test_a_bucket_lets_its_rate_pass() -> None:
    bucket = TokenBucket(10, now=0.0)
    assert [bucket.take(0.0) for _ in range(11)] == [True] * 10 + [False]
    assert [bucket.take(0.1) for _ in range(2)] == [True, False]
    assert sum(bucket.take(100.0) for _ in range(20)) == 10
    assert not TokenBucket(0, now=0.0).take(1000.0)


class Lines:
    """What the access log wrote, waited for."""

    def __init__(self) -> None:
        self.written: list[dict[str, object]] = []
        self._changed = threading.Condition()

    def __call__(self, data: bytes) -> None:
        with self._changed:
            self.written += [json.loads(line) for line in data.splitlines()]
            self._changed.notify_all()

    def wait_for(self, holds: Callable[[list[dict[str, object]]], bool]) -> list[dict[str, object]]:
        with self._changed:
            assert self._changed.wait_for(lambda: holds(self.written), 30), self.written
            return list(self.written)


def test_what_is_beyond_the_rate_is_counted_in_one_line() -> None:
    lines = Lines()
    access_log = AccessLog(AccessLogConfig(max_lines_per_second=3), lines)
    now = time.perf_counter()
    for _ in range(10):
        access_log.offer(finished(), now)
    lines.wait_for(lambda written: sum(int(str(line.get("left_out", 0))) for line in written) == 7)
    access_log.close(10)
    assert [line["status"] for line in lines.written if "status" in line] == [200, 200, 200]


def test_failures_are_always_written_and_rejections_summed_up() -> None:
    lines = Lines()
    access_log = AccessLog(AccessLogConfig(max_lines_per_second=0), lines)
    for record in (finished(500, "model_error"), finished(429, "queue_full"), finished(429, "queue_full"), finished()):
        access_log.offer(record, now=time.perf_counter())
    access_log.close(10)
    failure, summary = lines.written
    assert (failure["status"], failure["code"]) == (500, "model_error")
    assert summary["rejected"] == {"queue_full": 2}
    assert summary["left_out"] == 3
    assert summary["message"] == "3 lines were left out; 2 requests were answered 429 (queue_full)"


def test_clients_errors_do_not_hide_behind_successes() -> None:
    lines = Lines()
    access_log = AccessLog(AccessLogConfig(max_lines_per_second=1), lines)
    now = time.perf_counter()
    for status in (200, 200, 400, 400):
        access_log.offer(finished(status), now)
    access_log.close(10)
    assert [line.get("status") for line in lines.written] == [200, 400, None]


@pytest.mark.parametrize(
    ("record", "written"),
    [
        (finished(501, "not_streaming"), False),
        (finished(504, "deadline_in_queue", timeout_seconds=0.001), False),
        (finished(504, "deadline_in_queue"), True),
        (finished(503, "no_workers", timeout_seconds=0.001), True),
    ],
)
def test_the_log_has_no_limit_for_faults_of_the_server_alone(record: RequestRecord, written: bool) -> None:
    lines = Lines()
    access_log = AccessLog(AccessLogConfig(max_lines_per_second=0), lines)
    access_log.offer(record, time.perf_counter())
    access_log.close(10)
    assert [line["level"] for line in lines.written] == (["WARNING"] if written else ["INFO"])
    assert ("status" in lines.written[0]) is written


def test_a_log_that_nobody_reads_stops_nobody() -> None:
    blocked = threading.Event()
    access_log = AccessLog(AccessLogConfig(max_lines_per_second=1_000_000), lambda data: blocked.wait(30))
    begun = time.perf_counter()
    for _ in range(10_000):
        access_log.offer(finished(), begun)
    assert not blocked.is_set()  # the writer is still inside its first write
    blocked.set()
    access_log.close(10)


def test_a_log_that_is_closed_stops_nobody() -> None:
    def broken(data: bytes) -> None:
        raise BrokenPipeError

    access_log = AccessLog(AccessLogConfig(), broken)
    access_log.offer(finished(500), time.perf_counter())
    access_log.close(10)


def test_a_line_holds_what_is_known_and_nothing_else() -> None:
    record = finished(
        trace_id=TRACE_ID,
        span_id=SPAN_ID,
        bytes_in=10,
        rows=2,
        batch_rows=8,
        queue_seconds=0.0012345678,
        path="/v2/models/\x1b[31m\ud800",
    )
    assert json.loads(format_json(0.0, record)) == {
        "time": "1970-01-01T00:00:00.000Z",
        "level": "INFO",
        "logger": "slipway_runtime.access",
        "message": "POST /v2/models/�[31m� 200",
        "protocol": "v2",
        "method": "POST",
        "path": "/v2/models/�[31m�",
        "status": 200,
        "code": "ok",
        "request_id": "id-1",
        "client": "10.0.0.1",
        "trace_id": TRACE_ID,
        "span_id": SPAN_ID,
        "bytes_in": 10,
        "bytes_out": 0,
        "rows": 2,
        "batch_rows": 8,
        "queue_seconds": 0.001235,
        "total_seconds": 0.02,
    }
    assert format_text(0.0, finished(504, "deadline_in_queue")) == (
        b"00:00:00 WARNING POST /v2/models/m/infer 504 deadline_in_queue in 20.0 ms, id-1\n"
    )


@pytest.mark.parametrize(
    "header",
    [TRACEPARENT, TRACEPARENT.encode(), f"cc-{TRACE_ID}-{SPAN_ID}-01", f"cc-{TRACE_ID}-{SPAN_ID}-01-what-comes-later"],
)
def test_a_traceparent_is_read(header: str | bytes) -> None:
    assert parse_traceparent(header) == (TRACE_ID, SPAN_ID, 1)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-01-more",
        f"00-{TRACE_ID}-{SPAN_ID}-0",
        f"cc-{TRACE_ID}-{SPAN_ID}-01x",
        b"\xff" * 55,
    ],
)
def test_a_malformed_traceparent_is_ignored(header: str | bytes) -> None:
    assert parse_traceparent(header) is None


def config(**more: object) -> RuntimeConfig:
    return RuntimeConfig.model_validate({"name": "m", "artifact": ArtifactConfig(uri="file:///m"), **more})


def test_the_callers_trace_goes_on() -> None:
    metrics = Metrics(Lifecycle())
    telemetry = Telemetry(config(accessLog={"enabled": False}), metrics)
    record = finished()
    telemetry.begin(record, TRACEPARENT.encode())
    assert (record.trace_id, record.parent_span_id, record.trace_flags) == (TRACE_ID, SPAN_ID, 1)
    assert record.span_id not in ("", SPAN_ID)
    assert traceresponse(record) == f"00-{TRACE_ID}-{record.span_id}-01".encode()
    assert metrics.registry.get_sample_value("slipway_runtime_requests_in_flight") == 1
    telemetry.finish(record)
    assert metrics.registry.get_sample_value("slipway_runtime_requests_in_flight") == 0
    untraced = finished()
    telemetry.begin(untraced)
    assert traceresponse(untraced) is None
    telemetry.finish(untraced)


def test_traces_are_off_unless_a_receiver_is_named() -> None:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
    assert not traces_wanted({})
    assert not traces_wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": ""})
    assert traces_wanted(endpoint)
    assert traces_wanted({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"})
    assert not traces_wanted({**endpoint, "OTEL_SDK_DISABLED": "true"})
    assert not traces_wanted({**endpoint, "OTEL_TRACES_EXPORTER": "none"})


def test_server_timing_is_in_milliseconds() -> None:
    record = finished(queue_seconds=0.002, compute_seconds=0.0125, batch_rows=8, started_at=10.0)
    assert server_timing(record, now=10.02) == (
        b'decode;dur=0.000, queue;dur=2.000, compute;dur=12.500, total;dur=20.000, batch;desc="8"'
    )


def test_the_page_of_metrics_is_up_to_date() -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "runtime-metrics.md"
    assert page.read_text() == metrics_page(), "Run `make generate`."
