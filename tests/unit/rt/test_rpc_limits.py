"""What the gRPC port takes of one client and of all together; what it says, and counts, beyond that."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from slipway_runtime.http.auth import ApiKeys
from slipway_runtime.rpc import entrance
from tests.unit.rt.rawgrpc import INFER, MOST_STREAMS, RawClient, beginning
from tests.unit.rt.rpcserver import RpcServer, Serve, echo, failed, request_of, serving, wait_until

pytestmark = pytest.mark.unit

Stub = service_pb2_grpc.GRPCInferenceServiceStub
COMPRESSIONS = [grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate]
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"


@pytest.fixture
def serve() -> Iterator[Serve]:
    with serving() as start:
        yield start


def channel_to(server: RpcServer) -> grpc.Channel:
    """With a connection of its own."""
    return grpc.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)])


def request_with(size_bytes: int) -> Any:
    """A message of about that size."""
    request = request_of(1, 2)
    request.raw_input_contents[0] = bytes(size_bytes)
    return request


def refused(server: RpcServer, reason: str) -> float:
    value = server.metrics.registry.get_sample_value("slipway_runtime_grpc_refusals_total", {"reason": reason})
    return value or 0


def code_and_words(error: Any) -> tuple[grpc.StatusCode, str, str]:
    return error.code(), dict(error.trailing_metadata()).get("error-code", ""), error.details()


@pytest.mark.feature("body-limit")
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_message_beyond_the_limit_is_told_the_limit_and_the_way_out(
    serve: Serve, compression: grpc.Compression
) -> None:
    server = serve(maxRequestBytes=10_000)
    with grpc.insecure_channel(server.address, compression=compression) as channel:
        caught = failed(lambda: Stub(channel).ModelInfer(request_with(15_000)))
        status, code, words = code_and_words(caught)
        assert (status, code) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "body_too_large")
        assert "bytes, expected at most 10000 (spec.traffic.maxRequestBytes). Send less at once." in words
        assert Stub(channel).ModelInfer(request_of(1, 2)).model_name == "m"
    assert refused(server, "body_too_large") == 1
    assert server.total(protocol="grpc", code="413", reason="body_too_large") == 1
    assert server.budget.used_bytes == 0


@pytest.mark.feature("body-limit")
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_message_far_beyond_the_limit_is_never_received_and_counted_all_the_same(
    serve: Serve, compression: grpc.Compression
) -> None:
    server = serve(maxRequestBytes=10_000)
    with grpc.insecure_channel(server.address, compression=compression) as channel:
        caught: Any = failed(lambda: Stub(channel).ModelInfer(request_with(50_000)))
        assert caught.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max" in caught.details()
    wait_until(lambda: refused(server, "message_unread") == 1)


def test_a_message_of_a_stream_beyond_the_limit_fails_alone(serve: Serve) -> None:
    server = serve(maxRequestBytes=10_000)
    with grpc.insecure_channel(server.address) as channel:
        answers = Stub(channel).ModelStreamInfer(iter([request_with(15_000), request_of(1, 2)]))
        first, second = answers
    assert "expected at most 10000 (spec.traffic.maxRequestBytes)" in first.error_message
    assert second.infer_response.model_name == "m"
    assert refused(server, "body_too_large") == 1


def test_a_call_without_a_message_is_told_so(serve: Serve) -> None:
    with grpc.insecure_channel(serve().address) as channel:
        caught = failed(lambda: channel.stream_unary(INFER)(iter(())))
    assert code_and_words(caught)[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "missing_message")


class Silence:
    """Messages of a client that says nothing for as long as the test likes."""

    def __init__(self) -> None:
        self._ended = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        self._ended.wait(60)
        yield from ()

    def end(self) -> None:
        self._ended.set()


@pytest.fixture
def silence() -> Iterator[Silence]:
    silent = Silence()
    yield silent
    silent.end()


def test_a_call_whose_message_does_not_come_is_ended(serve: Serve, silence: Silence) -> None:
    server = serve(requestTimeoutSeconds=1)
    with grpc.insecure_channel(server.address) as channel:
        for method in (INFER, "/grpc.health.v1.Health/Check", "/inference.GRPCInferenceService/ServerLive"):
            caught = failed(lambda method=method: channel.stream_unary(method)(iter(silence), timeout=60))
            status, code, words = code_and_words(caught)
            assert (status, code) == (grpc.StatusCode.DEADLINE_EXCEEDED, "body_too_slow")
            assert "within 1 seconds (spec.traffic.requestTimeoutSeconds)" in words
    assert refused(server, "body_too_slow") == 3
    assert server.total(protocol="grpc", code="408", reason="body_too_slow") == 1
    wait_until(lambda: server.counts.open == 0)


def test_who_leaves_before_the_message_is_whole_is_counted_unless_its_own_time_was_over(
    serve: Serve, silence: Silence
) -> None:
    server = serve()
    with grpc.insecure_channel(server.address) as channel:
        call = channel.stream_unary(INFER).future(iter(silence))
        wait_until(lambda: server.counts.open == 1)
        call.cancel()
        wait_until(lambda: refused(server, "message_unread") == 1)
        caught: Any = failed(lambda: channel.stream_unary(INFER)(iter(silence), timeout=0.2))
        assert caught.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        wait_until(lambda: server.counts.open == 0)
    assert refused(server, "message_unread") == 1
    assert server.total(protocol="grpc", code="499", reason="client_closed") == 2


def test_a_stream_whose_answers_are_not_read_is_ended(serve: Serve) -> None:
    server = serve(requestTimeoutSeconds=1)
    request = request_of(1, 2)
    request.inputs[0].shape[0] = 100_000
    request.raw_input_contents[0] = np.zeros((100_000, 2), np.float32).tobytes()
    with grpc.insecure_channel(server.address, options=[("grpc.max_receive_message_length", -1)]) as channel:
        answers = Stub(channel).ModelStreamInfer(iter([request] * 20))
        wait_until(lambda: refused(server, "reader_too_slow") == 1)
        wait_until(lambda: server.counts.open == 0)
        caught = failed(lambda: list(answers))
    assert code_and_words(caught)[:2] == (grpc.StatusCode.DEADLINE_EXCEEDED, "reader_too_slow")
    assert server.budget.used_bytes == 0


def test_calls_beyond_the_limit_are_refused_while_health_answers(serve: Serve) -> None:
    server = serve(compute=lambda ticket: None, limits={"maxConnections": 1})
    with grpc.insecure_channel(server.address) as channel:
        stub = Stub(channel)
        held = stub.ModelInfer.future(request_of(1, 2))
        wait_until(lambda: len(server.dispatch.submitted) == 1)
        caught = failed(lambda: stub.ModelInfer(request_of(1, 2)))
        status, code, words = code_and_words(caught)
        assert (status, code) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "too_many_calls")
        assert "maxConnections" in words
        assert dict(caught.trailing_metadata())["retry-after"] in ("1", "2", "3")  # type: ignore[attr-defined]
        assert stub.ServerLive(service_pb2.ServerLiveRequest()).live
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        held.cancel()
        wait_until(lambda: server.counts.open == 0)
        server.dispatch.compute = echo
        assert stub.ModelInfer(request_of(1, 2)).model_name == "m"
    assert refused(server, "too_many_calls") == 1


def test_an_idle_stream_gives_its_place_to_a_call_that_finds_none(
    serve: Serve, silence: Silence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entrance, "_IDLE_SECONDS", 0.0)
    server = serve(limits={"maxConnections": 1})
    with grpc.insecure_channel(server.address) as channel:
        stream = channel.stream_stream(STREAM)(iter(silence))
        wait_until(lambda: server.counts.open == 1)
        assert Stub(channel).ModelInfer(request_of(1, 2)).model_name == "m"
        caught = failed(lambda: next(stream))
    assert code_and_words(caught)[:2] == (grpc.StatusCode.UNAVAILABLE, "stream_idle")
    assert refused(server, "stream_idle") == 1


def test_connections_beyond_the_limit_are_told_so_until_others_have_closed(serve: Serve) -> None:
    server = serve(limits={"maxConnections": 1})
    with channel_to(server) as second:
        with channel_to(server) as first:
            assert Stub(first).ModelInfer(request_of(1, 2)).model_name == "m"
            status, code, words = code_and_words(failed(lambda: Stub(second).ModelInfer(request_of(1, 2))))
            assert (status, code) == (grpc.StatusCode.UNAVAILABLE, "too_many_connections")
            assert "There are 1 gRPC connections already (maxConnections)" in words
            assert server.metrics.registry.get_sample_value("slipway_runtime_grpc_connections") == 2
            assert Stub(first).ModelInfer(request_of(1, 2)).model_name == "m"

        def answered() -> bool:
            try:
                return bool(Stub(second).ModelInfer(request_of(1, 2)).model_name)
            except grpc.RpcError:
                return False

        wait_until(answered)
    assert refused(server, "too_many_connections") >= 1


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (
            [(f"x-{number}", "v") for number in range(20)],
            r"expected at most 16 \(maxHeaderCount\)",
        ),
        ([("x-long", "v" * 2000)], r"bytes, expected at most 1024 \(maxHeaderBytes\)"),
    ],
)
def test_metadata_beyond_its_limits_is_refused_before_the_message(
    serve: Serve, metadata: list[tuple[str, str]], words: str
) -> None:
    server = serve(limits={"maxHeaderCount": 16, "maxHeaderBytes": 1024})
    with grpc.insecure_channel(server.address) as channel:
        caught = failed(lambda: Stub(channel).ModelInfer(request_of(1, 2), metadata=metadata))
        assert code_and_words(caught)[:2] == (grpc.StatusCode.RESOURCE_EXHAUSTED, "headers_too_large")
        assert re.search(words, code_and_words(caught)[2])
        assert Stub(channel).ModelInfer(request_of(1, 2)).model_name == "m"
        caught = failed(lambda: Stub(channel).ModelInfer(request_of(1, 2), metadata=[("x-huge", "v" * 40_000)]))
        assert caught.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]
    assert refused(server, "headers_too_large") == 1


@pytest.mark.feature("auth")
def test_keys_are_asked_for_before_a_message_is_read(serve: Serve, silence: Silence, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("secret\n")
    server = serve(keys=ApiKeys(tmp_path / "keys"))
    with grpc.insecure_channel(server.address) as channel:
        caught = failed(lambda: channel.stream_unary(INFER)(iter(silence), timeout=60))
        assert code_and_words(caught)[:2] == (grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")
    assert refused(server, "unauthenticated") == 1


@pytest.mark.parametrize("method", ["/inference.GRPCInferenceService/Nothing", "/some.Other/Method"])
def test_a_method_that_is_not_there_is_told_which_services_are(serve: Serve, method: str) -> None:
    with grpc.insecure_channel(serve().address) as channel:
        caught: Any = failed(lambda: channel.unary_unary(method)(b""))
    assert caught.code() is grpc.StatusCode.UNIMPLEMENTED
    assert f"There is no method {method!r} here, expected one of grpc.health.v1.Health, " in caught.details()


@pytest.mark.feature("bytes-admission")
def test_messages_that_are_never_whole_hold_no_more_than_the_budget(serve: Serve) -> None:
    """Four clients send three quarters of a large message each and wait."""
    size = 4 << 20
    server = serve(maxRequestBytes=size, budget_bytes=size, requestTimeoutSeconds=600)

    def send(client: RawClient) -> None:
        stream = client.call()
        client.send(stream, beginning(size, size * 3 // 4))
        while stream not in client.ended:
            client.read()

    clients = [RawClient(server.address) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        sending = [pool.submit(send, client) for client in clients]
        wait_until(lambda: refused(server, "bytes_budget") >= 3)
        with channel_to(server) as channel:
            request = request_of(1, 2)
            wait_until(lambda: Stub(channel).ModelInfer(request).model_name == "m")
        for client in clients:
            client.close()
        for future in sending:
            assert future.exception(60) is None or isinstance(future.exception(), OSError)
    wait_until(lambda: server.counts.open == 0)
    wait_until(lambda: server.budget.used_bytes == 0)


def test_one_large_message_that_comes_slowly_may_have_all_of_the_budget(serve: Serve) -> None:
    size = 4 << 20
    server = serve(maxRequestBytes=size, budget_bytes=size // 4, requestTimeoutSeconds=600)
    with RawClient(server.address) as client:
        stream = client.call()
        client.send(stream, beginning(size - 5, size * 3 // 4))
        wait_until(lambda: server.budget.used_bytes > server.budget.limit_bytes)
        client.send(stream, bytes(size - 5 - size * 3 // 4))
        while stream not in client.ended:
            client.read()
    assert refused(server, "bytes_budget") == 0
    assert server.total(protocol="grpc", code="400", reason="invalid_message") == 1
    wait_until(lambda: server.budget.used_bytes == 0)


def test_pings_in_a_row_cost_the_connection(serve: Serve) -> None:
    with RawClient(serve().address) as client:
        for _ in range(4):
            client.ping()
        while client.gone_away is None:
            client.read()
        assert client.gone_away == b"too_many_pings"


def test_one_connection_has_a_bounded_number_of_calls(serve: Serve) -> None:
    with RawClient(serve().address) as client:
        wait_until(lambda: client.read() is None and MOST_STREAMS in client.settings)
        assert client.settings[MOST_STREAMS] == 1000
