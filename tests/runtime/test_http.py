"""HTTP/1.1 against the real runtime, byte by byte: what proxies, scripts and broken clients do."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from slipway_runtime.contract import LimitsConfig
from tests.runtime.conftest import StartRuntime
from tests.runtime.server import RuntimeServer
from tests.unit.rt.httploop import Answer, Client, eventually, get, post

pytestmark = [pytest.mark.runtime, pytest.mark.timeout(300)]

BODY = json.dumps({"inputs": {"x": [[1, 0, 0, 0]]}}).encode()
SCORES = [[0.5, 3.5, 8.0]]
ENDLESS = 1_000_000
"""Rounds of about a millisecond each: no test waits for their end."""


def connect(server: RuntimeServer) -> Client:
    return Client(int(server.uri.rpartition(":")[2]))


def scores(answer: Answer) -> object:
    assert answer.status == 200, answer.body
    return answer.json["outputs"]["scores"]


def refusals(server: RuntimeServer, reason: str) -> float:
    found = re.search(
        rf'^slipway_runtime_http_refusals_total{{reason="{reason}"}} (\S+)$', server.metrics(), re.MULTILINE
    )
    return float(found[1]) if found else 0.0


def test_answers_pipelined_predictions_and_metadata_in_order(linear: RuntimeServer) -> None:
    with connect(linear) as client:
        client.send(post("/predict", BODY) + get("/v2/models/linear") + post("/predict", BODY) + get("/nowhere"))
        assert scores(client.answer()) == SCORES
        assert client.answer().json["name"] == "linear"
        assert scores(client.answer()) == SCORES
        assert client.answer().code == "route_not_found"
        assert scores(client.post("/models/linear/predict", BODY).answer()) == SCORES, "with the Ingress's prefix"
        assert scores(client.post("/pr%65dict", BODY).answer()) == SCORES, "written in another way"


def test_takes_bodies_in_chunks_and_after_continue(linear: RuntimeServer) -> None:
    with connect(linear) as client:
        head = b"POST /predict HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
        client.send(head)
        assert client.interim() == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"%x\r\n" % len(BODY), BODY, b"\r\n0\r\n\r\n")
        assert scores(client.answer()) == SCORES


def test_answers_a_client_that_ended_its_side(linear: RuntimeServer) -> None:
    with connect(linear) as client:
        assert scores(client.post("/predict", BODY).end().answer()) == SCORES
        assert client.is_closed()


def test_answers_head_and_refuses_other_methods(linear: RuntimeServer) -> None:
    with connect(linear) as client:
        answer = client.send(get("/v2/models/linear", method="HEAD")).answer(head_only=True)
        assert (answer.status, int(answer.headers["content-length"]) > 100) == (200, True)
        answer = client.send(get("/predict")).answer()
        assert (answer.status, answer.code, answer.headers["allow"]) == (405, "method_not_allowed", "POST")
        assert scores(client.post("/predict", BODY, "Connection: Upgrade", "Upgrade: websocket").answer()) == SCORES


@pytest.mark.feature("body-limit")
def test_refuses_a_large_body_before_it_is_sent(linear: RuntimeServer) -> None:
    before = refusals(linear, "body_too_large")
    with connect(linear) as client:
        client.send(b"POST /predict HTTP/1.1\r\nHost: test\r\nContent-Length: 65537\r\nExpect: 100-continue\r\n\r\n")
        answer = client.answer()
        assert (answer.status, answer.code, answer.json["model"]) == (413, "body_too_large", "linear")
        assert client.is_closed()
    assert refusals(linear, "body_too_large") == before + 1
    assert 'slipway_runtime_requests_total{code="413",protocol="predict",reason="body_too_large"}' in linear.metrics()


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"\x16\x03\x01\x00\x00", 400, "invalid_http"),
        (b"POST /predict HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 400, "invalid_http"),
        (
            b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "invalid_http",
        ),
        (get("/" + "x" * 9000), 414, "uri_too_long"),
        (get("/", "Cookie: " + "x" * LimitsConfig().max_header_bytes), 431, "headers_too_large"),
    ],
)
def test_refuses_in_json_what_is_no_request(linear: RuntimeServer, data: bytes, status: int, code: str) -> None:
    with connect(linear) as client:
        answer = client.send(data).answer()
        assert (answer.status, answer.code) == (status, code)
        assert client.is_closed()


def test_serves_on_while_it_is_sent_nonsense(linear: RuntimeServer) -> None:
    rng = random.Random(7)
    good = post("/v2/models/linear/infer", BODY) + get("/v2/health/ready")
    for _ in range(150):
        data = bytearray(good)
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with connect(linear) as client:
            try:
                rest = client.send(bytes(data[: rng.randint(1, len(data))])).end().rest()
            except OSError:  # refused and closed while this side was still sending
                continue
            assert not rest or rest.startswith(b"HTTP/1.1 "), rest[:80]
            assert b"Traceback" not in rest
    with connect(linear) as client:
        assert scores(client.post("/predict", BODY).answer()) == SCORES
    assert "slipway_runtime_inflight_bytes 0.0" in linear.metrics()


@pytest.mark.feature("disconnects")
def test_forgets_the_queued_work_of_a_client_that_left(
    start_runtime: StartRuntime, archives: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config.json"
    artifact = {"uri": f"file://{archives}/slow.pt"}
    config.write_text(json.dumps({"name": "slow", "artifact": artifact, "engine": {"workers": 1}}))
    server = start_runtime("--config", str(config)).wait_until_ready()
    with connect(server) as busy:
        busy.post("/predict", json.dumps([[ENDLESS]]).encode())
        assert eventually(lambda: "slipway_runtime_requests_in_flight 1.0" in server.metrics())
        with connect(server) as behind:
            behind.post("/predict", b"[[1]]")
            assert eventually(lambda: "slipway_runtime_requests_in_flight 2.0" in server.metrics())
        left = 'slipway_runtime_requests_total{code="499",protocol="predict",reason="client_closed"} 1.0'
        assert eventually(lambda: left in server.metrics())
        assert "slipway_runtime_requests_in_flight 1.0" in server.metrics()
