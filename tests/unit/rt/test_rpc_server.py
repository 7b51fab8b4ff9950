"""The gRPC port against clients that we did not write; the model behind it is whatever a test says."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from slipway_runtime.http.auth import ApiKeys
from slipway_runtime.protocol.errors import ApiError
from tests.unit.rt.rpcserver import Serve, echo, failed, request_of, serving, wait_until

pytestmark = pytest.mark.unit

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def serve() -> Iterator[Serve]:
    with serving() as start:
        yield start


def row(*values: float) -> triton.InferInput:
    array = np.array([values], np.float32)
    return triton.InferInput("x", list(array.shape), "FP32").set_data_from_numpy(array)


def test_the_clients_every_question_is_answered(serve: Serve) -> None:
    server = serve()
    with triton.InferenceServerClient(server.address) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("m")
        assert client.get_server_metadata().name == "slipway"
        assert client.get_model_metadata("m", as_json=True)["platform"] == "pytorch_torchscript"
        assert client.get_model_config("m").config.input[0].data_type == 11
        assert client.get_inference_statistics("m").model_stats[0].inference_count == 3
        assert client.get_inference_statistics().model_stats[0].name == "m"
        assert client.get_model_repository_index().models[0].state == "READY"
        assert client.get_system_shared_memory_status().regions == {}
        client.unregister_system_shared_memory()
        result = client.infer("m", [row(1, 2)], request_id="call-1")
        assert result.as_numpy("x_out").tolist() == [[1, 2]]
        assert result.get_response().id == "call-1"
    assert server.total(protocol="grpc", code="200", reason="ok") == 1
    assert server.budget.used_bytes == 0


@pytest.mark.parametrize(
    ("ask", "status", "words"),
    [
        (
            lambda client: client.get_model_metadata("n"),
            "NOT_FOUND",
            "Request for unknown model: there is no model 'n' here, expected 'm'.",
        ),
        (lambda client: client.get_model_config("m", "2"), "NOT_FOUND", "has no version '2'"),
        (
            lambda client: client.get_inference_statistics("n"),
            "NOT_FOUND",
            "Request for unknown model: there is no model 'n' here",
        ),
        (
            lambda client: client.infer("n", [row(1, 2)]),
            "NOT_FOUND",
            "Request for unknown model: there is no model 'n' here",
        ),
        (lambda client: client.infer("m", [row(1, 2, 3)]), "INVALID_ARGUMENT", "has the shape [1, 3], expected"),
        (lambda client: client.load_model("m"), "UNIMPLEMENTED", "neither loads nor unloads others"),
        (lambda client: client.unload_model("m"), "UNIMPLEMENTED", "change spec.artifact"),
        (lambda client: client.load_model("n"), "NOT_FOUND", "Request for unknown model: there is no model 'n' here"),
        (lambda client: client.update_log_settings({"log_info": True}), "UNIMPLEMENTED", "belong to the configuration"),
        (lambda client: client.get_trace_settings(), "UNIMPLEMENTED", "belong to the configuration"),
        (lambda client: client.register_system_shared_memory("r", "/k", 8), "UNIMPLEMENTED", "Shared memory is not"),
    ],
)
def test_refusals_reach_the_clients_own_error(
    serve: Serve, ask: Callable[[triton.InferenceServerClient], Any], status: str, words: str
) -> None:
    with triton.InferenceServerClient(serve().address) as client, pytest.raises(InferenceServerException) as caught:
        ask(client)
    assert caught.value.status() == f"StatusCode.{status}"
    assert words in caught.value.message()


def test_errors_of_the_dispatcher_keep_their_words(serve: Serve) -> None:
    error = ApiError(429, "queue_full", "The queue is full. Try again later.", headers={"Retry-After": "2"})
    server = serve(compute=lambda ticket: error)
    with grpc.insecure_channel(server.address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        caught: Any = failed(lambda: stub.ModelInfer(request_of(1, 2), metadata=[("x-request-id", "mine")]))
    assert caught.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.details() == error.message
    assert dict(caught.trailing_metadata()) == {
        "x-request-id": "mine",
        "error-code": "queue_full",
        "retry-after": "2",
        "grpc-retry-pushback-ms": "2000",
    }
    assert server.total(protocol="grpc", code="429", reason="queue_full") == 1


def test_a_fault_of_ours_is_hidden(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    server = serve(compute=lambda ticket: {"something": np.zeros(1)})
    with grpc.insecure_channel(server.address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        caught: Any = failed(lambda: stub.ModelInfer(request_of(1, 2), metadata=[("x-request-id", "mine")]))
    assert (caught.code(), caught.details()) == (
        grpc.StatusCode.INTERNAL,
        "The runtime failed; its log has the cause under mine.",
    )
    assert "KeyError" in caplog.text


def test_what_is_no_message_is_refused(serve: Serve) -> None:
    with grpc.insecure_channel(serve().address) as channel:
        for method in ("ModelInfer", "ModelMetadata"):
            call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
            caught: Any = failed(lambda call=call: call(b"\xff\xff\xff"))
            assert caught.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert caught.details().startswith("The message is no inference.Model")
        for service in ("health.v1.Health/Check", "reflection.v1alpha.ServerReflection/ServerReflectionInfo"):
            stream = channel.stream_stream(f"/grpc.{service}")(iter([b"\xff\xff"]))
            caught = failed(lambda stream=stream: next(stream))
            assert caught.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert caught.details().startswith("The message is no ")


def test_answers_tell_where_the_time_went_and_whose_trace_it_is(serve: Serve) -> None:
    with grpc.insecure_channel(serve().address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        traceparent = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
        _, call = stub.ModelInfer.with_call(
            request_of(1, 2), metadata=[("traceparent", traceparent), ("x-request-id", "mine")]
        )
    metadata = dict(call.trailing_metadata())
    assert metadata["x-request-id"] == "mine"
    assert metadata["traceresponse"].startswith(f"00-{TRACE_ID}-")
    assert 'batch;desc="4"' in metadata["server-timing"]
    assert "compute;dur=2.000" in metadata["server-timing"]


def test_a_stream_answers_in_order_and_goes_on_after_an_error(serve: Serve) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    server = serve()
    with triton.InferenceServerClient(server.address) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for number in range(200):
            client.async_stream_infer("n" if number == 100 else "m", [row(number, 0)], request_id=str(number))
        received = [answers.get(timeout=30) for _ in range(200)]
        client.stop_stream()
    for number, (result, error) in enumerate(received):
        if number == 100:
            assert error.message() == "Request for unknown model: there is no model 'n' here, expected 'm'."
        else:
            assert result.get_response().id == str(number)
            assert result.as_numpy("x_out").tolist() == [[number, 0]]
    assert server.total(protocol="grpc", code="200", reason="ok") == 199
    assert server.total(protocol="grpc", code="404", reason="model_not_found") == 1
    assert server.budget.used_bytes == 0


def test_a_stream_that_wants_statuses_ends_with_one(serve: Serve) -> None:
    with grpc.insecure_channel(serve().address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        request = service_pb2.ModelInferRequest(model_name="n")
        answers = stub.ModelStreamInfer(iter([request]), metadata=[("triton_grpc_error", "true")])
        caught: Any = failed(lambda: next(answers))
    assert caught.code() is grpc.StatusCode.NOT_FOUND


def test_the_last_answer_is_marked_for_who_asks(serve: Serve) -> None:
    request = request_of(1, 2)
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    with grpc.insecure_channel(serve().address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        (answer,) = stub.ModelStreamInfer(iter([request]))
    assert answer.infer_response.parameters["triton_final_response"].bool_param


def test_a_client_that_leaves_cancels_what_it_asked(serve: Serve) -> None:
    server = serve(compute=lambda ticket: None)
    with grpc.insecure_channel(server.address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        call = stub.ModelInfer.future(request_of(1, 2))
        stream = stub.ModelStreamInfer(iter([request_of(3, 4), request_of(5, 6)]))
        wait_until(lambda: len(server.dispatch.submitted) == 3)
        call.cancel()
        stream.cancel()
        wait_until(lambda: len(server.dispatch.cancelled) == 3)
    wait_until(lambda: server.total(protocol="grpc", code="499", reason="client_closed") == 3)
    assert server.budget.used_bytes == 0


def test_the_clients_deadline_is_the_tickets(serve: Serve) -> None:
    server = serve()
    with grpc.insecure_channel(server.address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        stub.ModelInfer(request_of(1, 2))
        assert server.dispatch.submitted[-1].timeout_seconds is None
        request = request_of(1, 2)
        request.parameters["timeout"].int64_param = 1_500_000
        stub.ModelInfer(request, timeout=60)
        assert server.dispatch.submitted[-1].timeout_seconds == 1.5
        server.dispatch.compute = lambda ticket: None
        caught: Any = failed(lambda: stub.ModelInfer(request_of(1, 2), timeout=3))
        assert caught.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        ticket = server.dispatch.submitted[-1]
        assert ticket.timeout_seconds is not None
        assert 0 < ticket.timeout_seconds < 4  # the wire rounds up
        wait_until(lambda: server.dispatch.cancelled == [ticket])


def test_bytes_in_flight_are_bounded(serve: Serve) -> None:
    server = serve(compute=lambda ticket: None, budget_bytes=40)
    with grpc.insecure_channel(server.address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        held = stub.ModelInfer.future(request_of(1, 2))
        wait_until(lambda: len(server.dispatch.submitted) == 1)
        caught: Any = failed(lambda: stub.ModelInfer(request_of(1, 2)))
        assert caught.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "maxInflightBytes" in caught.details()
        assert dict(caught.trailing_metadata())["retry-after"] in ("1", "2")
        held.cancel()
        wait_until(lambda: server.budget.used_bytes == 0)


def test_keys_are_asked_for_except_for_health(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("secret\n")
    server = serve(keys=ApiKeys(tmp_path / "keys"))
    with triton.InferenceServerClient(server.address) as client:
        assert client.is_server_ready()
        assert client.is_model_ready("m")
        for headers in (None, {"x-api-key": "wrong"}, {"authorization": "Bearer "}):
            with pytest.raises(InferenceServerException, match="An API key is needed") as caught:
                client.infer("m", [row(1, 2)], headers=headers)
            assert caught.value.status() == "StatusCode.UNAUTHENTICATED"
        with pytest.raises(InferenceServerException, match="An API key is needed"):
            client.get_model_metadata("m")
        for headers in ({"x-api-key": "secret"}, {"authorization": "Bearer secret"}):
            assert client.infer("m", [row(1, 2)], headers=headers).as_numpy("x_out").tolist() == [[1, 2]]
        errors: queue.Queue[Any] = queue.Queue()
        client.start_stream(lambda result, error: errors.put(error))
        assert "An API key is needed" in errors.get(timeout=30).message()
        client.stop_stream()


def test_the_asynchronous_client_works_unchanged(serve: Serve) -> None:
    from tritonclient.grpc import aio

    server = serve()

    async def use() -> list[Any]:
        async with aio.InferenceServerClient(server.address) as client:
            assert await client.is_model_ready("m")
            results = await asyncio.gather(*(client.infer("m", [row(number, 0)]) for number in range(20)))
            answers = [result.as_numpy("x_out")[0, 0] for result in results]

            async def requests() -> Any:
                for number in range(3):
                    yield {"model_name": "m", "inputs": [row(number, 1)]}

            async for result, error in client.stream_infer(requests()):
                assert error is None
                answers.append(result.as_numpy("x_out")[0, 0])
            return answers

    assert asyncio.run(use()) == [*range(20), 0, 1, 2]


def test_calls_and_messages_beyond_the_bound_are_refused_and_places_are_given_back(serve: Serve) -> None:
    """The first call is never answered: it holds its place until its client gives up."""
    server = serve(maxConcurrency=1, compute=lambda ticket: None if ticket.inputs["x"][0, 0] < 0 else echo(ticket))
    with grpc.insecure_channel(server.address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        first = stub.ModelInfer.future(request_of(-1, 2))
        assert server.dispatch.changed.wait(10)
        caught: Any = failed(lambda: stub.ModelInfer(request_of(1, 2)))
        assert caught.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "one pod may hold: 1, by spec.traffic.maxConcurrency" in caught.details()
        metadata = dict(caught.trailing_metadata())
        assert metadata["error-code"] == "concurrency_limit"
        assert metadata["retry-after"] in ("1", "2")
        (told,) = stub.ModelStreamInfer(iter([request_of(1, 2)]))
        assert "spec.traffic.maxConcurrency" in told.error_message
        assert stub.ModelMetadata(service_pb2.ModelMetadataRequest(name="m")).name == "m"
        assert server.total(protocol="grpc", code="429", reason="concurrency_limit") == 2

        server.dispatch.changed.clear()
        first.cancel()
        assert server.dispatch.changed.wait(10), "the dispatcher is told that the client left"
        wait_until(lambda: server.concurrency.in_flight == 0)
        for _ in range(2):
            assert stub.ModelInfer(request_of(1, 2)).outputs[0].name == "x_out"
            (told,) = stub.ModelStreamInfer(iter([request_of(1, 2)]))
            assert not told.error_message
            assert failed(lambda: stub.ModelInfer(request_of(1, 2, 3))).code() is grpc.StatusCode.INVALID_ARGUMENT
        wait_until(lambda: server.concurrency.in_flight == 0)


def test_a_message_that_finds_no_memory_holds_no_place(serve: Serve) -> None:
    server = serve(maxConcurrency=1, budget_bytes=8)
    server.budget.take(8)
    with grpc.insecure_channel(server.address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for _ in range(2):
            caught: Any = failed(lambda: stub.ModelInfer(request_of(1, 2)))
            assert dict(caught.trailing_metadata())["error-code"] == "bytes_budget"
            assert server.concurrency.in_flight == 0
