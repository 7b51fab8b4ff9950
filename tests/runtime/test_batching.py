"""Batches in the real runtime: who shares one, who is refused, who fails, and who left.

Where a test says who shares a batch, the mode is Static with a window that nobody waits for: the batch is full before.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.runtime import archives as make
from tests.runtime.server import RuntimeServer

pytestmark = pytest.mark.runtime

ROWS = 8
PATIENCE_SECONDS = 30
STATIC = {"mode": "Static", "maxBatchSize": ROWS, "maxQueueDelayMilliseconds": 60_000}


def start(folder: Path, archive: Path, **settings: Any) -> RuntimeServer:
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.json"
    config.write_text(json.dumps({"name": "m", "artifact": {"uri": f"file://{archive}"}, **settings}))
    return RuntimeServer(folder / "run", "--config", str(config)).wait_until_ready()


@pytest.fixture(scope="module")
def demanding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    """Square roots of [batch, 2], in batches of exactly `ROWS`; it fails on negative numbers."""
    folder = tmp_path_factory.mktemp("demanding")
    archive = make.save_demanding(folder / "demanding.pt")
    server = start(folder, archive, batching={**STATIC, "maxQueueLength": ROWS})
    yield server
    server.kill()


@pytest.fixture(scope="module")
def automatic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    """The same without any setting but the largest batch."""
    folder = tmp_path_factory.mktemp("automatic")
    archive = make.save_demanding(folder / "demanding.pt")
    server = start(folder, archive, batching={"maxBatchSize": 4}, sla={"p99Milliseconds": 2000})
    yield server
    server.kill()


def ask(server: RuntimeServer, rows: Sequence[Sequence[int]], **headers: str) -> httpx.Response:
    return httpx.post(f"{server.uri}/predict", json=rows, headers=headers, timeout=PATIENCE_SECONDS)


def ask_all(server: RuntimeServer, requests: Sequence[Sequence[Sequence[int]]]) -> list[httpx.Response]:
    with ThreadPoolExecutor(len(requests)) as clients:
        return list(clients.map(lambda rows: ask(server, rows), requests))


def roots(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    return np.array(response.json()["outputs"]["root"])


def metric(server: RuntimeServer, name: str, **labels: str) -> float:
    samples = [sample for family in text_string_to_metric_families(server.metrics()) for sample in family.samples]
    return sum(
        sample.value
        for sample in samples
        if sample.name == f"slipway_runtime_{name}" and labels.items() <= sample.labels.items()
    )


def until(server: RuntimeServer, name: str, value: float, **labels: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while metric(server, name, **labels) != value:
        assert time.monotonic() < deadline, f"{name} is {metric(server, name, **labels)}, expected {value}"
        time.sleep(0.02)


@pytest.mark.feature("dynamic-batching", "rows-never-mix")
def test_concurrent_requests_share_a_batch_and_get_their_own_rows(demanding: RuntimeServer) -> None:
    batches, rows = metric(demanding, "batch_rows_count"), metric(demanding, "batch_rows_sum")
    answers = ask_all(demanding, [[[number, 0]] for number in range(ROWS)])
    for number, answer in enumerate(answers):
        assert roots(answer) == pytest.approx(np.sqrt([[number, 0]]))
    assert metric(demanding, "batch_rows_count") - batches == 1
    assert metric(demanding, "batch_rows_sum") - rows == ROWS
    assert 'desc="8"' in answers[0].headers["server-timing"]


@pytest.mark.feature("batch-rows")
def test_a_batch_is_full_by_rows_not_by_requests(demanding: RuntimeServer) -> None:
    batches = metric(demanding, "batch_rows_count")
    first, second = ask_all(demanding, [[[1, 1]] * 5, [[4, 4]] * 3])
    assert roots(first) == pytest.approx(np.ones((5, 2)))
    assert roots(second) == pytest.approx(np.full((3, 2), 2.0))
    assert metric(demanding, "batch_rows_count") - batches == 1


@pytest.mark.feature("item-errors")
def test_a_poison_row_fails_alone(demanding: RuntimeServer) -> None:
    retries = metric(demanding, "batch_retries_total", cause="bisect")
    answers = ask_all(demanding, [[[-1 if number == 5 else number, 0]] for number in range(ROWS)])
    poisoned = answers.pop(5)
    assert (poisoned.status_code, poisoned.json()["code"]) == (500, "model_error")
    assert "Traceback" not in poisoned.text
    assert [answer.status_code for answer in answers] == [200] * (ROWS - 1)
    assert metric(demanding, "batch_retries_total", cause="bisect") > retries


@pytest.mark.feature("client-deadline")
def test_a_clients_deadline_is_kept_while_it_waits(demanding: RuntimeServer) -> None:
    answer = ask(demanding, [[1, 1]], **{"X-Request-Timeout-Ms": "200"})
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_in_queue")
    assert answer.json()["retryable"] is True


@pytest.mark.feature("disconnects")
def test_the_queued_work_of_a_client_that_left_is_forgotten(demanding: RuntimeServer) -> None:
    left = metric(demanding, "client_disconnects_total", stage="queue")
    host, _, port = demanding.address.partition(":")
    body = b"[[1, 1]]"
    with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        until(demanding, "queue_requests", 1)
    until(demanding, "client_disconnects_total", left + 1, stage="queue")
    until(demanding, "queue_requests", 0)
    assert metric(demanding, "requests_total", code="499", reason="client_closed") >= 1


@pytest.mark.feature("retry-after", "bounded-queue", "load-shedding")
def test_what_exceeds_the_queue_is_refused_with_the_time_to_come_back(tmp_path: Path) -> None:
    archive = make.save_demanding(tmp_path / "demanding.pt")
    server = start(tmp_path, archive, batching={**STATIC, "maxQueueLength": 1}, requestTimeoutSeconds=20)
    try:
        with ThreadPoolExecutor(1) as clients:
            waiting = clients.submit(ask, server, [[1, 1]], **{"X-Request-Timeout-Ms": "5000"})
            until(server, "queue_requests", 1)
            refused = ask(server, [[1, 1]])
            assert (refused.status_code, refused.json()["code"]) == (429, "queue_full")
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.json()["retryable"] is True
            assert waiting.result().status_code == 504
        assert metric(server, "shed_total", reason="queue_full") == 1
    finally:
        server.kill()


@pytest.mark.feature("splitting")
def test_a_request_larger_than_a_batch_comes_back_whole_and_in_order(automatic: RuntimeServer) -> None:
    batches = metric(automatic, "batch_rows_count")
    rows = [[number, number * number] for number in range(10)]
    assert roots(ask(automatic, rows)) == pytest.approx(np.sqrt(rows))
    assert metric(automatic, "batch_rows_count") - batches == 3


@pytest.mark.feature("lone-request")
def test_a_lone_request_runs_at_once(automatic: RuntimeServer) -> None:
    idle = metric(automatic, "batch_close_total", reason="idle")
    assert ask(automatic, [[4, 9]]).status_code == 200
    assert metric(automatic, "batch_close_total", reason="idle") - idle == 1
    assert metric(automatic, "batch_close_total", reason="timer") == 0


def test_a_batch_without_rows_is_answered_without_rows(automatic: RuntimeServer) -> None:
    body = {"inputs": [{"name": "x", "datatype": "INT64", "shape": [0, 2], "data": []}]}
    answer = httpx.post(f"{automatic.uri}/v2/models/m/infer", json=body)
    assert answer.json()["outputs"][0]["shape"] == [0, 2]


@pytest.mark.feature("latency-target", "batch-histograms", "batching-from-target", "sla-any-model")
def test_the_target_and_what_is_planned_for_it_are_in_the_metrics(automatic: RuntimeServer) -> None:
    ask(automatic, [[4, 9]])
    assert metric(automatic, "sla_target_seconds", objective="p99") == 2.0
    assert metric(automatic, "sla_requests_total", met="true") > 0
    assert metric(automatic, "sla_feasible") == 1
    assert metric(automatic, "sustainable_rows_per_second") > 0
    assert metric(automatic, "batch_limit_rows", bucket="2") == 4
    assert 0 < metric(automatic, "batch_expected_seconds", rows="1", kind="median") < 1
    assert metric(automatic, "request_duration_seconds_bucket", protocol="predict", le="2.0") > 0
    assert metric(automatic, "request_stage_seconds_count", stage="queue") > 0


def test_requests_that_cannot_share_a_batch_run_one_by_one(tmp_path: Path) -> None:
    """Sums over the batch: its one row is nobody's own."""
    archive = make.save_summing(tmp_path / "summing.pt")
    server = start(tmp_path, archive)
    try:
        answers = ask_all(server, [[[number, 1]] for number in range(6)])
        for number, answer in enumerate(answers):
            assert answer.json()["outputs"]["sum"] == [number, 1]
        assert metric(server, "batch_rows_count") == 6
    finally:
        server.kill()
