"""gRPC beside HTTP on the real runtime: the same model, the same words, the same end. The clients are others' own."""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.http as over_http
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from slipway_runtime.contract import FailureReason
from tests.runtime.conftest import StartRuntime
from tests.runtime.server import RuntimeServer
from tests.unit.rt.rpcserver import request_of, serving

pytestmark = pytest.mark.runtime

ENDLESS = 10**9
"""Rounds of `Slow` that nobody waits for."""


@pytest.fixture(scope="module")
def server(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    """Serves `Mixed` on both ports and logs every request."""
    folder = tmp_path_factory.mktemp("grpc")
    content = {
        "name": "mixed",
        "artifact": {"uri": f"file://{archives}/mixed.pt"},
        "grpcPort": 0,
        "accessLog": {"maxLinesPerSecond": 100_000},
    }
    (folder / "config.json").write_text(json.dumps(content))
    started = RuntimeServer(folder / "run", "--config", str(folder / "config.json"))
    try:
        yield started.wait_until_ready()
    finally:
        started.kill()


@pytest.fixture
def client(server: RuntimeServer) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.grpc_address) as client:
        yield client


ARRAYS = {
    "numbers": np.array([[1.0, 4.0], [0.0, 2.0]], np.float32),
    "indices": np.array([[1, 2, 3], [4, 5, 6]]),
    "flags": np.array([[True, False], [False, False]]),
}
DATATYPES = {"numbers": "FP32", "indices": "INT64", "flags": "BOOL"}


def inputs(library: Any, **changed: np.ndarray[Any, Any]) -> list[Any]:
    return [
        library.InferInput(name, list(array.shape), DATATYPES[name]).set_data_from_numpy(array)
        for name, array in (ARRAYS | changed).items()
    ]


@pytest.mark.feature("oip-grpc")
def test_answers_are_those_of_rest_bit_for_bit(server: RuntimeServer, client: triton.InferenceServerClient) -> None:
    with over_http.InferenceServerClient(server.address) as rest:
        expected = rest.infer("mixed", inputs(over_http))
    result = client.infer("mixed", inputs(triton), request_id="call-1")
    assert result.get_response().id == "call-1"
    names = [output.name for output in result.get_response().outputs]
    assert set(names) == {"sums", "counts", "inverse", "halves", "any"}
    for name in names:
        answered, wanted = result.as_numpy(name), expected.as_numpy(name)
        assert answered.dtype == wanted.dtype
        assert answered.tobytes() == wanted.tobytes()
    assert np.isinf(result.as_numpy("inverse")[1, 0])
    chosen = client.infer("mixed", inputs(triton), outputs=[triton.InferRequestedOutput("any")])
    assert [output.name for output in chosen.get_response().outputs] == ["any"]
    assert chosen.as_numpy("any").tolist() == [True, False]


@pytest.mark.feature("oip-grpc")
def test_what_is_told_of_the_model_is_what_rest_tells(
    server: RuntimeServer, client: triton.InferenceServerClient
) -> None:
    with over_http.InferenceServerClient(server.address) as rest:
        metadata, server_metadata = rest.get_model_metadata("mixed"), rest.get_server_metadata()
        config = rest.get_model_config("mixed")
    told = client.get_model_metadata("mixed", as_json=True)
    assert [(spec["name"], spec["datatype"], [int(size) for size in spec["shape"]]) for spec in told["inputs"]] == [
        (spec["name"], spec["datatype"], spec["shape"]) for spec in metadata["inputs"]
    ]
    assert told["platform"] == metadata["platform"]
    assert client.get_server_metadata(as_json=True) == server_metadata
    told = client.get_model_config("mixed", as_json=True)["config"]
    assert told["max_batch_size"] == config["max_batch_size"]
    assert [spec["data_type"] for spec in told["input"]] == [spec["data_type"] for spec in config["input"]]
    client.infer("mixed", inputs(triton))
    (statistics,) = client.get_inference_statistics("mixed").model_stats
    assert statistics.inference_count >= 2
    assert statistics.inference_stats.success.ns > 0


@pytest.mark.parametrize(
    "ask",
    [
        lambda client, library: client.infer("nobody", inputs(library)),
        lambda client, library: client.infer("mixed", inputs(library), model_version="7"),
        lambda client, library: client.infer("mixed", inputs(library)[:2]),
        lambda client, library: client.infer("mixed", inputs(library, numbers=np.ones((2, 3), np.float32))),
        lambda client, library: client.infer("mixed", inputs(library, numbers=np.ones((1, 2), np.float32))),
        lambda client, library: client.infer(
            "mixed", inputs(library), outputs=[library.InferRequestedOutput("nothing")]
        ),
        lambda client, library: client.infer("mixed", inputs(library), priority=2**60),
        lambda client, library: client.get_model_metadata("nobody"),
        lambda client, library: client.load_model("mixed"),
    ],
)
@pytest.mark.feature("oip-grpc", "precise-errors")
def test_errors_have_the_words_of_rest(
    server: RuntimeServer, client: triton.InferenceServerClient, ask: Callable[[Any, Any], Any]
) -> None:
    with over_http.InferenceServerClient(server.address) as rest, pytest.raises(InferenceServerException) as expected:
        ask(rest, over_http)
    with pytest.raises(InferenceServerException) as caught:
        ask(client, triton)
    assert caught.value.message() == expected.value.message()
    assert (
        caught.value.status()
        == {
            "400": "StatusCode.INVALID_ARGUMENT",
            "404": "StatusCode.NOT_FOUND",
            "501": "StatusCode.UNIMPLEMENTED",
        }[expected.value.status()]
    )


def test_streams_carry_many_requests_at_once(client: triton.InferenceServerClient) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for number in range(100):
        numbers = np.full((1, 2), number, np.float32)
        rows = {name: array[:1] for name, array in ARRAYS.items()}
        client.async_stream_infer("mixed", inputs(triton, **{**rows, "numbers": numbers}), request_id=str(number))
    for number in range(100):
        result, error = answers.get(timeout=60)
        assert error is None
        assert result.get_response().id == str(number)
        assert result.as_numpy("sums").tolist() == [2 * number + 6]
    client.stop_stream()


def test_answers_are_counted_and_logged_with_their_trace(server: RuntimeServer) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    with grpc.insecure_channel(server.grpc_address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        request = service_pb2.ModelInferRequest(model_name="mixed")
        for tensor in inputs(triton):
            request.inputs.append(tensor._get_tensor())
            request.raw_input_contents.append(tensor._get_content())
        _, call = stub.ModelInfer.with_call(
            request, metadata=[("traceparent", f"00-{trace_id}-00f067aa0ba902b7-01"), ("x-request-id", "traced")]
        )
    metadata = dict(call.trailing_metadata())
    assert metadata["traceresponse"].startswith(f"00-{trace_id}-")
    assert "compute;dur=" in metadata["server-timing"]
    wait_for(lambda: any(line.get("request_id") == "traced" for line in server.log))
    (line,) = (line for line in server.log if line.get("request_id") == "traced")
    assert (line["protocol"], line["status"], line["trace_id"]) == ("grpc", 200, trace_id)
    assert 'slipway_runtime_requests_total{code="200",protocol="grpc",reason="ok"}' in server.metrics()


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)


def serve_slow(start: StartRuntime, archives: Path, tmp_path: Path, **settings: Any) -> RuntimeServer:
    config = tmp_path / "config.json"
    artifact = {"uri": f"file://{archives}/slow.pt"}
    content = {"name": "slow", "artifact": artifact, "grpcPort": 0, "engine": {"workers": 1}, **settings}
    config.write_text(json.dumps(content))
    return start("--config", str(config)).wait_until_ready()


def rounds(count: int) -> triton.InferInput:
    return triton.InferInput("rounds", [1, 1], "INT64").set_data_from_numpy(np.array([[count]]))


@pytest.mark.feature("client-deadline")
def test_deadlines_and_departures_are_noticed_while_the_model_computes(
    start_runtime: StartRuntime, archives: Path, tmp_path: Path
) -> None:
    server = serve_slow(start_runtime, archives, tmp_path, requestTimeoutSeconds=60)
    with triton.InferenceServerClient(server.grpc_address) as client:
        asked: queue.Queue[Any] = queue.Queue()
        call = client.async_infer("slow", [rounds(ENDLESS)], lambda result, error: asked.put(error))
        wait_for(lambda: "slipway_runtime_requests_in_flight 1.0" in server.metrics())
        with pytest.raises(InferenceServerException, match="was not answered within") as caught:
            client.infer("slow", [rounds(1)], timeout=100_000)
        assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"
        with pytest.raises(InferenceServerException) as caught:
            client.infer("slow", [rounds(1)], client_timeout=0.2)
        assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"
        call.cancel()
        assert asked.get(timeout=30).status() == "StatusCode.CANCELLED"
    wait_for(lambda: 'requests_total{code="499",protocol="grpc",reason="client_closed"}' in server.metrics())


@pytest.mark.feature("drain-inflight")
def test_a_drain_loses_no_call_and_health_tells_of_it_first(
    start_runtime: StartRuntime, archives: Path, tmp_path: Path
) -> None:
    server = serve_slow(start_runtime, archives, tmp_path, drainDelaySeconds=2, drainLimitSeconds=2)
    address = server.grpc_address

    def ask() -> tuple[int, str]:
        """How many were answered, and what the first refusal said."""
        answered = 0
        with triton.InferenceServerClient(address) as client:
            while True:
                try:
                    client.infer("slow", [rounds(3)])
                    answered += 1
                except InferenceServerException as error:
                    if error.status() != "StatusCode.RESOURCE_EXHAUSTED":  # told to come again, and does
                        return answered, f"{error.status()}: {error.message()}"

    with ThreadPoolExecutor(3) as clients, grpc.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watched = health.Watch(health_pb2.HealthCheckRequest())
        assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
        asking = [clients.submit(ask) for _ in range(3)]
        server.terminate()
        assert next(watched).status == health_pb2.HealthCheckResponse.NOT_SERVING
        results = [future.result(timeout=60) for future in asking]
    # Refused connections: whatever was accepted was answered, and nobody was left in doubt by a call that is cancelled.
    assert all(answered > 0 and status.startswith("StatusCode.UNAVAILABLE") for answered, status in results), results
    assert server.wait(20) == 0
    statuses = {line["status"] for line in server.log if line.get("protocol") == "grpc"}
    assert 200 in statuses
    assert statuses <= {200, 429}


def test_no_call_is_cancelled_that_waits_long_for_a_busy_loop() -> None:
    """Half a minute is what the library gives, unless it is told otherwise."""

    async def be_busy() -> None:
        time.sleep(31)  # noqa: ASYNC251 - nothing else may run

    with serving() as serve:
        server = serve()
        with grpc.insecure_channel(server.address) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            stub.ModelInfer(request_of(1, 2))
            busy = server.post(be_busy())
            calls = [stub.ModelInfer.future(request_of(1, 2), timeout=120) for _ in range(20)]
            assert {call.code() for call in calls} == {grpc.StatusCode.OK}
            busy.result(0)


def test_a_port_that_is_taken_is_named(start_runtime: StartRuntime, server: RuntimeServer, archives: Path) -> None:
    port = server.grpc_address.rpartition(":")[2]
    second = start_runtime("--uri", f"file://{archives}/linear.pt", "--grpc-port", port)
    assert second.wait() != 0
    message = second.termination_message()
    assert message is not None
    assert message.reason == FailureReason.PORT_IN_USE
    assert f"127.0.0.1:{port} (--grpc-port)" in message.message


@pytest.mark.feature("auth")
def test_keys_and_certificates_are_those_of_the_http_port(
    start_runtime: StartRuntime, archives: Path, tmp_path: Path
) -> None:
    from tests.unit.rt.certificates import write_pair

    certificate, key = write_pair(tmp_path, 1)
    (tmp_path / "keys").write_text("secret\n")
    config = tmp_path / "config.json"
    content = {
        "name": "linear",
        "artifact": {"uri": f"file://{archives}/linear.pt"},
        "grpcPort": 0,
        "tls": {"certificatePath": str(certificate), "keyPath": str(key)},
        "auth": {"apiKeysPath": str(tmp_path / "keys")},
    }
    config.write_text(json.dumps(content))
    server = start_runtime("--config", str(config)).wait_until_ready()
    port = server.grpc_address.rpartition(":")[2]
    x = triton.InferInput("x", [1, 4], "FP32").set_data_from_numpy(np.ones((1, 4), np.float32))
    with triton.InferenceServerClient(f"localhost:{port}", ssl=True, root_certificates=str(certificate)) as client:
        assert client.is_server_ready()
        with pytest.raises(InferenceServerException, match="An API key is needed"):
            client.infer("linear", [x])
        result = client.infer("linear", [x], headers={"authorization": "Bearer secret"})
        assert result.as_numpy("scores").tolist() == [[6.5, 21.5, 38.0]]
    assert httpx.get(f"{server.admin_uri}/readyz").status_code == 200
    assert "secret" not in server._log.read_text()


def test_the_pages_example_works(
    start_runtime: StartRuntime, archives: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path(__file__).parents[2] / "docs" / "protocols.md"
    example = page.read_text().partition("## gRPC")[2].partition("```python\n")[2].partition("```")[0]
    flags = ("--uri", f"file://{archives}/linear.pt", "--name", "linear", "--grpc-port", "0")
    server = start_runtime(*flags).wait_until_ready()
    exec(compile(example.replace("localhost:9000", server.grpc_address), str(page), "exec"), {})
    (wanted,) = (line.partition("# ")[2] for line in example.splitlines() if "# " in line)
    assert capsys.readouterr().out.strip() == wanted


HANDLER = """
import torch

class Handler:
    def signature(self):
        tensors = [("text", "BYTES"), ("bits", "BF16")]
        return {
            "inputs": [{"name": name, "datatype": datatype, "shape": [-1]} for name, datatype in tensors],
            "outputs": [{"name": f"{name}_out", "datatype": datatype, "shape": [-1]} for name, datatype in tensors],
        }

    def predict(self, batch, ctx):
        bits = torch.from_numpy(batch["bits"]).view(torch.bfloat16)
        return {"text_out": [text[::-1] for text in batch["text"]], "bits_out": bits}
"""


def test_bytes_and_bf16_come_back_through_a_worker(start_runtime: StartRuntime, tmp_path: Path) -> None:
    (tmp_path / "handler.py").write_text(HANDLER)
    config = tmp_path / "config.json"
    content = {
        "name": "echo",
        "artifact": {"uri": f"file://{tmp_path}/handler.py", "format": "Python"},
        "engine": {"kind": "Worker", "workers": 1},
        "grpcPort": 0,
    }
    config.write_text(json.dumps(content))
    server = start_runtime("--config", str(config)).wait_until_ready()
    texts, bits = [b"\xff\x00ab", "é".encode()], np.array([0x3F80, 0xFF80], np.uint16)
    request = service_pb2.ModelInferRequest(model_name="echo", id="call-1")
    text = request.inputs.add(name="text", datatype="BYTES", shape=[2])
    request.inputs.add(name="bits", datatype="BF16", shape=[2])
    request.raw_input_contents.append(b"".join(len(value).to_bytes(4, "little") + value for value in texts))
    request.raw_input_contents.append(bits.tobytes())
    with grpc.insecure_channel(server.grpc_address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        result = triton.InferResult(stub.ModelInfer(request))
        assert result.as_numpy("text_out").tolist() == [value[::-1] for value in texts]
        assert result.get_response().raw_output_contents[1] == bits.tobytes()
        text.datatype = "FP32"
        with pytest.raises(grpc.RpcError, match="Input 'text' has the datatype FP32, expected BYTES"):
            stub.ModelInfer(request)
