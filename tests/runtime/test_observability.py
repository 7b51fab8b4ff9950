"""What can be seen of requests from outside the real runtime: the log, the metrics, the answers, the traces."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.runtime.server import RuntimeServer
from tests.unit.rt.otlp import Receiver, attributes

pytestmark = pytest.mark.runtime

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"
BODY = {"inputs": {"x": [[4242, 0, 0, 0]]}}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    started = Receiver()
    yield started
    started.close()


@pytest.fixture(scope="module")
def server(archives: Path, tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[RuntimeServer]:
    """Sends traces to `receiver`, every quarter of a second."""
    folder = tmp_path_factory.mktemp("observed")
    config = folder / "config.json"
    config.write_text(
        f'{{"name": "linear", "artifact": {{"uri": "file://{archives}/linear.pt"}}, "sla": {{"p95Milliseconds": 137}},'
        ' "accessLog": {"maxLinesPerSecond": 1000}}'
    )
    started = RuntimeServer(
        folder / "run",
        "--config",
        str(config),
        environment={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.uri, "OTEL_BSP_SCHEDULE_DELAY": "250"},
    )
    try:
        yield started.wait_until_ready()
    finally:
        started.kill()


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)


def line_of(server: RuntimeServer, request_id: str) -> dict[str, object]:
    wait_for(lambda: any(line.get("request_id") == request_id for line in server.log))
    (line,) = (line for line in server.log if line.get("request_id") == request_id)
    return line


def test_a_line_tells_one_request_and_no_secret(server: RuntimeServer) -> None:
    secrets = {"Authorization": "Bearer topsecret-key", "X-API-Key": "topsecret-key", "Cookie": "topsecret-cookie"}
    for path in ("/predict", "/v2/health/ready"):
        method = "POST" if path == "/predict" else "GET"
        response = httpx.request(
            method,
            f"{server.uri}{path}?token=topsecret-query",
            json=BODY if method == "POST" else None,
            headers={"X-Request-Id": f"line{path}", **secrets},
        )
        assert response.status_code == 200
        line = line_of(server, f"line{path}")
        assert (line["method"], line["path"], line["status"], line["code"]) == (method, path, 200, "ok")
        assert (line["client"], line["level"]) == ("127.0.0.1", "INFO")
    line = line_of(server, "line/predict")
    assert (line["protocol"], line["rows"], line["batch_rows"]) == ("predict", 1, 1)
    for stage in ("decode", "compute", "total"):
        assert float(str(line[f"{stage}_seconds"])) > 0
    text = server._log.read_text()
    assert "topsecret" not in text
    assert "4242" not in text


def test_answers_tell_where_the_time_went(server: RuntimeServer) -> None:
    response = httpx.post(f"{server.uri}/predict", json=BODY, headers={"X-Request-Id": "mine"})
    assert response.headers["x-request-id"] == "mine"
    timing = response.headers["server-timing"]
    assert re.fullmatch(
        r'decode;dur=[\d.]+, queue;dur=[\d.]+, compute;dur=[\d.]+, total;dur=[\d.]+, batch;desc="1"', timing
    ), timing


def test_a_clients_own_timeout_spends_no_error_budget(server: RuntimeServer) -> None:
    def missed() -> list[str]:
        return re.findall(r'sla_requests_total\{met="false",objective="p95"\} (\S+)', server.metrics())

    before = missed()
    hurried = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0] * 4}]}
    response = httpx.post(
        f"{server.uri}/v2/models/linear/infer", json=hurried | {"parameters": {"timeout": 1}}, timeout=30
    )
    assert (response.status_code, response.json()["code"]) == (504, "deadline_in_queue")
    assert missed() == before


@pytest.mark.feature("runtime-metrics")
def test_metrics_are_what_prometheus_reads(server: RuntimeServer) -> None:
    httpx.post(f"{server.uri}/predict", json=BODY)
    httpx.post(f"{server.uri}/predict", json={"inputs": {"x": [[1]]}})
    families = families_of(server)
    reasons = {
        (sample.labels["code"], sample.labels["reason"])
        for sample in families["slipway_runtime_requests"]
        if sample.labels["protocol"] == "predict"
    }
    assert {("200", "ok"), ("422", "shape_mismatch")} <= reasons
    buckets = families["slipway_runtime_request_duration_seconds"]
    assert "0.137" in {sample.labels.get("le") for sample in buckets}
    assert sum(sample.value for sample in families["slipway_runtime_sla_requests"]) > 0
    assert "process_resident_memory_bytes" in families


def families_of(server: RuntimeServer) -> dict[str, list[Any]]:
    return {family.name: family.samples for family in text_string_to_metric_families(server.metrics())}


@pytest.mark.feature("batch-histograms")
def test_queue_time_and_batch_size_have_histograms(server: RuntimeServer) -> None:
    httpx.post(f"{server.uri}/predict", json=BODY)
    families = families_of(server)
    queued = [
        sample.value
        for sample in families["slipway_runtime_request_stage_seconds"]
        if sample.name.endswith("_count") and sample.labels["stage"] == "queue"
    ]
    batches = [sample.value for sample in families["slipway_runtime_batch_rows"] if sample.name.endswith("_count")]
    assert min(*queued, *batches) > 0


@pytest.mark.feature("traces")
def test_requests_are_spans_of_their_callers_traces_and_linked_to_their_batch(
    server: RuntimeServer, receiver: Receiver
) -> None:
    def ask(number: int) -> str:
        headers = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01", "X-Request-Id": f"traced-{number}"}
        response = httpx.post(f"{server.uri}/v2/models/linear/infer", json=V2, headers=headers)
        assert response.status_code == 200
        version, trace_id, span_id, flags = response.headers["traceresponse"].split("-")
        assert (version, trace_id, flags) == ("00", TRACE_ID, "01")
        assert line_of(server, f"traced-{number}")["trace_id"] == TRACE_ID
        return span_id

    with ThreadPoolExecutor(4) as clients:
        told = set(clients.map(ask, range(8)))

    def received() -> dict[str, object]:
        return {span.span_id.hex(): span for span in list(receiver.spans)}

    wait_for(lambda: told <= set(received()))
    wait_for(
        lambda: (
            told <= {link.span_id.hex() for span in list(receiver.spans) if span.name == "batch" for link in span.links}
        )
    )
    for span in (span for span in receiver.spans if span.span_id.hex() in told):
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE_ID, SPAN_ID)
        assert span.name == "POST /v2/models/linear/infer"
        assert {"decode", "compute", "encode"} <= {event.name for event in span.events}
        assert attributes(span)["slipway.rows"] == 1


V2 = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
