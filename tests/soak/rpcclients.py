"""Clients of the gRPC port: honest, wrong, and gone."""

from __future__ import annotations

import asyncio
import random
from typing import Any, Final

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.soak.clients import Clients, WrongAnswerError
from tests.soak.questions import MODEL, Question

_CLIENT_SECONDS: Final = 300.0
"""Far beyond the server's own limit: an answer that this one ends is a hang."""


class RpcClients:
    """Over one channel."""

    def __init__(self, channel: grpc.aio.Channel, clients: Clients, chance: random.Random) -> None:
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        self._clients = clients
        self._chance = chance

    async def honest(self) -> str:
        question = self._clients.question()
        try:
            answer = await self._stub.ModelInfer(_request(question), timeout=_CLIENT_SECONDS)
        except grpc.aio.AioRpcError as error:
            return outcome_of(error)
        values = np.frombuffer(answer.raw_output_contents[0], "<f4").reshape(list(answer.outputs[0].shape))
        if answer.id != question.request_id or not np.array_equal(values, question.expected):
            raise WrongAnswerError(f"gRPC {question.request_id}: expected {question.expected.tolist()}, got {answer}")
        return "OK"

    async def broken(self) -> str:
        message = _request(self._clients.question())
        tensor = message.inputs[0]
        match self._chance.randrange(5):
            case 0:
                tensor.shape[0] += 1
            case 1:
                tensor.name = "z"
            case 2:
                tensor.datatype = "INT64"
            case 3:
                message.raw_input_contents[0] = message.raw_input_contents[0][:-1]
            case _:
                tensor.shape.append(7)
        try:
            await self._stub.ModelInfer(message, timeout=_CLIENT_SECONDS)
        except grpc.aio.AioRpcError as error:
            return outcome_of(error)
        return "OK"

    async def leave(self) -> str:
        call = self._stub.ModelInfer(_request(self._clients.question()), timeout=_CLIENT_SECONDS)
        await asyncio.sleep(self._chance.choice((0, 0.002, 0.02)))
        call.cancel()
        return "left"


def outcome_of(error: grpc.aio.AioRpcError) -> str:
    metadata: dict[str, Any] = dict(error.trailing_metadata() or ())
    code = metadata.get("error-code")
    if code is None or not metadata.get("x-request-id"):
        raise WrongAnswerError(f"gRPC: {error.code()} without code and id: {error.details()}")
    return f"{error.code().name} {code}"


def _request(question: Question) -> Any:
    tensor = service_pb2.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=question.x.shape)
    return service_pb2.ModelInferRequest(
        model_name=MODEL,
        id=question.request_id,
        inputs=[tensor],
        raw_input_contents=[question.x.astype("<f4").tobytes()],
    )
