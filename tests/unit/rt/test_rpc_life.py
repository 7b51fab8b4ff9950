"""The gRPC port from its first moment to its last: health, reflection, certificates, the end."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.grpc import service_pb2, service_pb2_grpc

from slipway_runtime.contract import FailureReason, TLSConfig
from slipway_runtime.dispatch.ticket import Ticket
from slipway_runtime.failure import StartupError
from slipway_runtime.rpc.tls import credentials
from tests.unit.rt.certificates import write_pair
from tests.unit.rt.rpcserver import RpcServer, Serve, echo, failed, request_of, serving, wait_until

pytestmark = pytest.mark.unit


@pytest.fixture
def serve() -> Iterator[Serve]:
    with serving() as start:
        yield start


def health_of(channel: grpc.Channel, service: str = "") -> int:
    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=30)
    status: int = answer.status
    return status


SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_NOBODY = health_pb2.HealthCheckRequest(service="nobody")


def test_health_follows_the_life_of_the_process(serve: Serve) -> None:
    server = serve(ready=False)
    with grpc.insecure_channel(server.address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        assert health_of(channel) == NOT_SERVING
        assert stub.ServerLive(service_pb2.ServerLiveRequest()).live
        assert not stub.ServerReady(service_pb2.ServerReadyRequest()).ready
        assert not stub.ModelReady(service_pb2.ModelReadyRequest(name="m")).ready
        caught: Any = failed(lambda: stub.ModelInfer(request_of(1, 2)))
        assert (caught.code(), caught.details()) == (
            grpc.StatusCode.UNAVAILABLE,
            "The model is not ready yet (Config).",
        )
        server.open()
        assert [health_of(channel, service) for service in ("", "inference.GRPCInferenceService")] == [SERVING] * 2
        assert health_of_unknown(channel) is grpc.StatusCode.NOT_FOUND
        server.drain()
        assert health_of(channel) == NOT_SERVING
        assert not stub.ServerReady(service_pb2.ServerReadyRequest()).ready
        assert stub.ModelInfer(request_of(1, 2)).model_name == "m"


def test_who_only_asks_for_health_does_not_hold_up_the_end(serve: Serve) -> None:
    server = serve()
    with grpc.insecure_channel(server.address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        assert health_of(channel) == SERVING
        assert stub.ServerReady(service_pb2.ServerReadyRequest()).ready
        assert server.begun_calls == 0
        stub.ModelInfer(request_of(1, 2))
        list(stub.ModelStreamInfer(iter([request_of(1, 2)])))
        assert server.begun_calls == 2


def health_of_unknown(channel: grpc.Channel) -> grpc.StatusCode:
    caught: Any = failed(lambda: health_of(channel, "nobody"))
    code: grpc.StatusCode = caught.code()
    return code


def test_whoever_watches_is_told_of_each_change_though_others_leave_and_holds_up_no_stop(serve: Serve) -> None:
    server = serve(ready=False)
    asked = health_pb2.HealthCheckRequest(service="inference.GRPCInferenceService")
    with grpc.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        leaves, stays, unknown = (stub.Watch(question) for question in (asked, asked, _NOBODY))
        assert [next(watch).status for watch in (leaves, stays)] == [NOT_SERVING] * 2
        assert next(unknown).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        leaves.cancel()
        server.open()
        assert next(stays).status == SERVING
        server.drain()
        assert next(stays).status == NOT_SERVING
        stopped = server.stop(300)
        caught: Any = failed(lambda: next(stays))
        assert (caught.code(), caught.details()) == (
            grpc.StatusCode.UNAVAILABLE,
            "This server is stopping; watch another.",
        )
        stopped.result(30)


def test_a_stop_answers_what_is_in_flight(serve: Serve) -> None:
    held: list[tuple[asyncio.AbstractEventLoop, Ticket]] = []

    def hold(ticket: Ticket) -> None:
        held.append((asyncio.get_running_loop(), ticket))

    def release(ticket: Ticket) -> None:
        ticket.outputs = echo(ticket)
        ticket.done(ticket)

    server = serve(compute=hold)
    asked: queue.Queue[Any] = queue.Queue()
    with grpc.insecure_channel(server.address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        call = stub.ModelInfer.future(request_of(1, 2))
        stream = stub.ModelStreamInfer(iter(asked.get, None))
        asked.put(request_of(3, 4))
        wait_until(lambda: len(held) == 2)
        stopped = server.stop(30)
        assert not stopped.done()
        for loop, ticket in held:
            loop.call_soon_threadsafe(release, ticket)
        assert call.result(timeout=30).model_name == "m"
        assert next(stream).infer_response.model_name == "m"
        caught: Any = failed(lambda: next(stream))
        assert (caught.code(), caught.details()) == (
            grpc.StatusCode.UNAVAILABLE,
            "The runtime ends. Open the stream again.",
        )
        asked.put(None)
        stopped.result(30)


def test_a_stop_cancels_no_call_of_clients_who_call_again_at_once(serve: Serve) -> None:
    server = serve()
    calling = threading.Barrier(9)

    def call_until_refused() -> grpc.StatusCode:
        with grpc.insecure_channel(server.address) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            stub.ModelInfer(request_of(1, 2))
            calling.wait(30)
            while True:
                try:
                    stub.ModelInfer(request_of(1, 2))
                except grpc.RpcError as error:
                    refused: Any = error
                    code: grpc.StatusCode = refused.code()
                    return code

    with ThreadPoolExecutor(8) as clients:
        ends = [clients.submit(call_until_refused) for _ in range(8)]
        calling.wait(30)
        server.stop(30).result(30)
        assert {end.result(30) for end in ends} == {grpc.StatusCode.UNAVAILABLE}


def test_what_the_port_speaks_can_be_found_out(serve: Serve) -> None:
    with grpc.insecure_channel(serve().address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert set(database.get_services()) == {
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
            "inference.GRPCInferenceService",
        }
        service = DescriptorPool(database).FindServiceByName("inference.GRPCInferenceService")
        assert service.methods_by_name["ModelInfer"].input_type.fields_by_name["raw_input_contents"].number == 7
        health = DescriptorPool(database).FindServiceByName("grpc.health.v1.Health")
        assert "Check" in health.methods_by_name


def tls_config(folder: Path) -> dict[str, str]:
    return {"certificatePath": str(folder / "tls.crt"), "keyPath": str(folder / "tls.key")}


def trusted(server: RpcServer, certificate: bytes) -> bool:
    """Whether a client that trusts this certificate alone gets an answer."""
    port = server.address.rpartition(":")[2]
    credentials = grpc.ssl_channel_credentials(certificate)
    with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
        try:
            return health_of(channel) == SERVING
        except grpc.RpcError:
            return False


def test_tls_follows_its_files(serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    certificate, key = write_pair(tmp_path, 1)
    first = certificate.read_bytes()
    server = serve(tls=tls_config(tmp_path))
    assert trusted(server, first)
    key.write_text("no key")
    assert trusted(server, first)
    assert "The old certificate stays" in caplog.text
    write_pair(tmp_path, 2)
    assert trusted(server, certificate.read_bytes())
    assert not trusted(server, first)


def test_tls_files_that_are_no_pair_are_named_at_once(tmp_path: Path) -> None:
    write_pair(tmp_path, 1)
    (tmp_path / "tls.key").write_text("no key")
    config = TLSConfig.model_validate(tls_config(tmp_path))
    with pytest.raises(StartupError, match="are no certificate and its unencrypted key in PEM form") as caught:
        credentials(config)
    assert caught.value.reason is FailureReason.INVALID_CONFIG
