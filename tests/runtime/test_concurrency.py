"""The bound of predictions in flight, in the real runtime and over every protocol.

Batches are Static and of three rows that nobody sends in time, so what is sent waits for as long as a test needs it to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from slipway_runtime.contract import LIVE_PATH, READY_PATH, VERIFY_PATH
from tests.runtime import archives as make
from tests.runtime.server import RuntimeServer
from tests.runtime.test_batching import ask, metric, until

pytestmark = pytest.mark.runtime

LIMIT: Final = 2
V2: Final = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "INT64", "data": [1, 1]}]}


@pytest.fixture
def bounded(tmp_path: Path) -> Iterator[RuntimeServer]:
    """Square roots of [batch, 2]."""
    archive = make.save_demanding(tmp_path / "demanding.pt")
    config = tmp_path / "config.json"
    said = {
        "name": "m",
        "artifact": {"uri": f"file://{archive}"},
        "batching": {"mode": "Static", "maxBatchSize": LIMIT + 1, "maxQueueDelayMilliseconds": 60_000},
        "maxConcurrency": LIMIT,
        "grpcPort": 0,
    }
    config.write_text(json.dumps(said))
    server = RuntimeServer(tmp_path / "run", "--config", str(config)).wait_until_ready()
    yield server
    server.kill()


def over_grpc(server: RuntimeServer, rows: int) -> Any:
    given = triton.InferInput("x", [rows, 2], "INT64").set_data_from_numpy(np.ones((rows, 2), np.int64))
    with triton.InferenceServerClient(server.grpc_address) as client:
        return client.infer("m", [given]).as_numpy("root")


@pytest.mark.feature("load-shedding")
def test_predictions_beyond_the_bound_are_refused_over_every_protocol_and_nothing_else_is(
    bounded: RuntimeServer,
) -> None:
    with ThreadPoolExecutor(LIMIT) as clients:
        waiting = [clients.submit(ask, bounded, [[4, 9]]) for _ in range(LIMIT)]
        until(bounded, "queue_requests", LIMIT)
        for path, body in (
            ("/v2/models/m/infer", V2),
            ("/v1/models/m:predict", {"instances": [[1, 1]]}),
            ("/predict", [[1, 1]]),
        ):
            refused = httpx.post(bounded.uri + path, json=body)
            assert (refused.status_code, refused.json()["code"]) == (429, "concurrency_limit"), path
            assert int(refused.headers["retry-after"]) >= 1
            for words in (f"one pod may hold: {LIMIT}", "spec.traffic.maxConcurrency"):
                assert words in refused.json()["error"]
        with pytest.raises(InferenceServerException) as caught:
            over_grpc(bounded, 1)
        assert caught.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
        assert "spec.traffic.maxConcurrency" in caught.value.message()
        assert metric(bounded, "shed_total", reason="concurrency_limit") == 4
        assert metric(bounded, "requests_total", code="429", reason="concurrency_limit") == 4

        for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/m/ready", "/v2/models/m"):
            assert httpx.get(bounded.uri + path).status_code == 200
        for path in (LIVE_PATH, READY_PATH):
            assert httpx.get(bounded.admin_uri + path).status_code == 200
        # The operator's check is let in, and is the row that the batch waits for.
        assert httpx.post(bounded.uri + VERIFY_PATH, timeout=30).status_code == 200
        assert [answer.result().json()["outputs"]["root"] for answer in waiting] == [[[2.0, 3.0]]] * LIMIT


def test_places_are_free_again_after_answers_refusals_and_departures(bounded: RuntimeServer) -> None:
    for _ in range(LIMIT + 1):
        assert httpx.post(f"{bounded.uri}/predict", content=b"{").status_code == 400
        assert ask(bounded, [[1, 1]], **{"X-Request-Timeout-Ms": "50"}).status_code == 504
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{bounded.uri}/predict", json=[[1, 1]], timeout=0.2)
        until(bounded, "queue_requests", 0)
    assert ask(bounded, [[1, 1], [4, 4], [9, 9]]).status_code == 200, "three rows are one batch"
    assert len(over_grpc(bounded, 3)) == 3
    assert metric(bounded, "shed_total", reason="concurrency_limit") == 0
