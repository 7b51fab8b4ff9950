"""Every request is in exactly one bucket of `requests_total`, whatever became of it: the sum is the offered load."""

from __future__ import annotations

import json
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException

from tests.runtime.server import RuntimeServer

pytestmark = [pytest.mark.runtime, pytest.mark.timeout(300)]

_PATIENCE_SECONDS: Final = 30.0
_CLIENTS: Final = 12

Status = int | None
"""That the client saw; 499 where it left early, None where it cannot know whether it left before its answer."""
Ask = Callable[[RuntimeServer], Status]


@pytest.fixture(scope="module")
def server(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    """Takes its time for -1, so that requests queue, expire and are left; fails on -2. There is not room for all."""
    folder = tmp_path_factory.mktemp("sums")
    handler = folder / "handler.py"
    handler.write_text(
        "import time\n"
        "def signature():\n"
        "    spec = {'datatype': 'FP32', 'shape': [-1, 2]}\n"
        "    return {'inputs': [{'name': 'x', **spec}], 'outputs': [{'name': 'y', **spec}]}\n"
        "def predict(batch):\n"
        "    if (batch['x'] == -2).any():\n"
        "        raise RuntimeError('poison')\n"
        "    if (batch['x'] == -1).any():\n"
        "        time.sleep(0.2)\n"
        "    return {'y': batch['x'] * 2}\n"
    )
    config = folder / "config.json"
    content = {
        "name": "sums",
        "artifact": {"uri": f"file://{handler}", "format": "Python"},
        "maxConcurrency": 4,
        "maxRequestBytes": 65536,
        "requestTimeoutSeconds": 10,
        "batching": {"maxBatchSize": 4},
        "sla": {"p95Milliseconds": 5000},
        "accessLog": {"enabled": False},
    }
    config.write_text(json.dumps(content))
    started = RuntimeServer(folder / "run", "--config", str(config), "--grpc-port", "0", "--triton-metrics")
    try:
        yield started.wait_until_ready()
    finally:
        started.kill()


def samples(server: RuntimeServer, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(server.metrics())
        for sample in family.samples
        if sample.name == name
    }


def by(server: RuntimeServer, name: str, *labels: str) -> Counter[tuple[str, ...]]:
    told: Counter[tuple[str, ...]] = Counter()
    for given, value in samples(server, f"slipway_runtime_{name}").items():
        told[tuple(dict(given)[label] for label in labels)] += int(value)
    return told


def by_status(server: RuntimeServer) -> Counter[tuple[str, ...]]:
    return by(server, "requests_total", "code")


def http(method: str, path: str, body: bytes = b"", **headers: str) -> Ask:
    def ask(server: RuntimeServer) -> Status:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.request(method, server.uri + path, content=body, headers=sent, timeout=60).status_code

    return ask


def leaving(path: str, body: bytes, *, whole: bool) -> Ask:
    """Sends the request, or most of it, and resets the connection. That its head was read is certain."""

    def ask(server: RuntimeServer) -> Status:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
        with connected(server) as client:
            client.sendall(head.encode())
            assert client.recv(65536).startswith(b"HTTP/1.1 100 ")
            client.sendall(body if whole else body[:-1])
            time.sleep(0.02)  # more often than not it is in the queue or the model by then
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return None if whole else 499

    return ask


def connected(server: RuntimeServer) -> socket.socket:
    host, _, port = server.address.partition(":")
    return socket.create_connection((host, int(port)), timeout=_PATIENCE_SECONDS)


def raw(data: bytes) -> Ask:
    def ask(server: RuntimeServer) -> Status:
        with connected(server) as client:
            client.sendall(data)
            return int(client.recv(65536).split(b" ")[1])

    return ask


def grpc(width: int, model: str = "sums") -> Ask:
    def ask(server: RuntimeServer) -> Status:
        with triton.InferenceServerClient(server.grpc_address) as client:
            tensor = triton.InferInput("x", [1, width], "FP32")
            tensor.set_data_from_numpy(np.ones((1, width), np.float32))
            try:
                client.infer(model, [tensor])
            except InferenceServerException as error:
                return _STATUS_OF[str(error.status()).removeprefix("StatusCode.")]
        return 200

    return ask


_STATUS_OF: Final = {"INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "RESOURCE_EXHAUSTED": 429}
ROW: Final = b"[[1, 2]]"
SLOW: Final = b"[[-1, 1]]"
V2: Final = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}'

KINDS: Final[dict[str, Ask]] = {
    "predict": http("POST", "/predict", ROW),
    "v2": http("POST", "/v2/models/sums/infer", V2),
    "v1": http("POST", "/v1/models/sums:predict", b'{"instances": [[1, 2]]}'),
    "percent-encoded path": http("POST", "/v2/models/sum%73/infer", V2),
    "slow": http("POST", "/predict", SLOW),
    "poison": http("POST", "/predict", b"[[-2, 1]]"),
    "expires": http("POST", "/predict", SLOW, X_Request_Timeout_Ms="50"),
    "no JSON": http("POST", "/predict", b"[[1, 2"),
    "wrong shape": http("POST", "/predict", b"[[1]]"),
    "wrong media type": http("POST", "/predict", ROW, Content_Type="text/html"),
    "too large": http("POST", "/predict", b" " * 70_000),
    "other model": http("POST", "/v2/models/other/infer", V2),
    "other method": http("PUT", "/predict", ROW),
    "no such path": http("GET", "/nowhere"),
    "metadata": http("GET", "/v2/models/sums"),
    "head": http("HEAD", "/v2/health/ready"),
    "verification": http("POST", "/slipway/verify"),
    "no HTTP": raw(b"nonsense\r\n\r\n"),
    "leaves while sending": leaving("/predict", ROW, whole=False),
    "leaves": leaving("/predict", SLOW, whole=True),
    "gRPC": grpc(2),
    "gRPC of a wrong shape": grpc(1),
    "gRPC of another model": grpc(2, "other"),
}


def settled(server: RuntimeServer) -> None:
    """Nobody waits any more; departures have been noticed."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (
        samples(server, "slipway_runtime_requests_in_flight")[()]
        or samples(server, "slipway_runtime_http_connections")[()]
    ):
        assert time.monotonic() < deadline, server.metrics()
        time.sleep(0.05)


@pytest.mark.feature("runtime-metrics")
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_request_is_counted_once_by_the_status_that_its_client_saw(
    server: RuntimeServer, kind: str
) -> None:
    before = by_status(server)
    seen = KINDS[kind](server)
    settled(server)
    grown = by_status(server) - before
    assert grown.total() == 1
    assert seen is None or grown == {(str(seen),): 1}


def test_the_sums_hold_whatever_comes_together(server: RuntimeServer) -> None:
    chance = random.Random(20240229)
    kinds = [chance.choice(list(KINDS)) for _ in range(400)]
    names = "requests_total", "client_disconnects_total", "shed_total"
    before = {name: by(server, name, *labels) for name, labels in zip(names, _LABELS, strict=True)}
    with ThreadPoolExecutor(_CLIENTS) as clients:
        answered = list(clients.map(lambda kind: KINDS[kind](server), kinds))
    seen = Counter(str(status) for status in answered if status is not None)
    settled(server)
    grown = {name: by(server, name, *labels) - before[name] for name, labels in zip(names, _LABELS, strict=True)}
    requests = grown["requests_total"]
    told: Counter[str] = Counter()
    for (_, code, _), count in requests.items():
        told[code] += count
    assert not seen - told
    assert told.total() == len(kinds), "each is in one bucket, and in one only"
    assert {"200", "400", "404", "499", "500"} <= told.keys(), "the mix is one"
    assert grown["client_disconnects_total"].total() == told["499"]
    for reason in ("concurrency_limit", "deadline_in_queue"):
        shed = sum(count for (_, _, code), count in requests.items() if code == reason)
        assert grown["shed_total"][(reason,)] == shed


_LABELS: Final = (("protocol", "code", "reason"), ("stage",), ("reason",))


def test_tritons_names_tell_the_same_numbers(server: RuntimeServer) -> None:
    for kind in ("predict", "v2", "poison", "no JSON", "leaves while sending"):
        KINDS[kind](server)
    settled(server)
    labels = (("model", "sums"), ("version", "1"))

    def told(name: str) -> float:
        return samples(server, f"nv_inference_{name}")[labels]

    requests = by(server, "requests_total", "protocol", "code")
    predictions = {code: 0 for _, code in requests}
    for (protocol, code), count in requests.items():
        predictions[code] += count if protocol != "other" else 0
    assert told("request_success") == predictions.pop("200")
    failures = {dict(given)["reason"]: value for given, value in samples(server, _FAILURE).items()}
    assert failures.keys() == {"REJECTED", "CANCELED", "BACKEND", "OTHER"}
    assert sum(failures.values()) == sum(predictions.values())
    assert failures["CANCELED"] == predictions["499"]
    assert failures["BACKEND"] >= predictions["500"] > 0
    statistics = httpx.get(f"{server.uri}/v2/models/sums/stats").json()["model_stats"][0]
    assert told("count") == statistics["inference_count"]
    assert told("exec_count") == statistics["execution_count"]
    spent = statistics["inference_stats"]
    for name, stage in (
        ("request", "success"),
        ("queue", "queue"),
        ("compute_input", "compute_input"),
        ("compute_infer", "compute_infer"),
        ("compute_output", "compute_output"),
    ):
        assert told(f"{name}_duration_us") == pytest.approx(spent[stage]["ns"] / 1000, abs=1)
    assert told("pending_request_count") == 0


_FAILURE: Final = "nv_inference_request_failure"
