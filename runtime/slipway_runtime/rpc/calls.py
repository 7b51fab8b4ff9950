"""The calls that are no predictions: health, metadata, configuration, statistics, repository."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from slipway_runtime.rpc.description import OPEN, Answer, parse, refusal, render
from slipway_runtime.rpc.messages import SERVICE
from slipway_runtime.rpc.service import Gateway, begin_call

Handler = Callable[[object, Any], Awaitable[bytes]]


class DescribedCalls:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def handler(self, method: str) -> Handler:
        async def handle(_: object, context: Any) -> bytes:
            record, headers = begin_call(context, f"/{SERVICE}/{method}")

            async def work(message: bytes) -> bytes:
                return render(method, self._answer(method, parse(method, message)))

            return await self._gateway.answer(context, record, headers, work, open_to_all=method in OPEN)

        return handle

    def _answer(self, method: str, request: Any) -> Answer:
        ready = self._gateway.lifecycle.ready
        if method == "ServerLive":
            return {"live": True}
        if method == "ServerReady":
            return {"ready": ready}
        if method == "ModelReady" and self._gateway.backend is None:
            return {"ready": False}
        backend = self._gateway.ready_backend()
        if method in ("ModelReady", "ModelMetadata", "ModelConfig") or (method == "ModelStatistics" and request.name):
            backend.codec.check_model(request.name, request.version)
        elif method in ("RepositoryModelLoad", "RepositoryModelUnload"):
            backend.codec.check_model(request.model_name, "")
        description = backend.description
        answers: dict[str, Callable[[], Answer]] = {
            "ModelReady": lambda: {"ready": ready},
            "ServerMetadata": description.server,
            "ModelMetadata": description.model,
            "ModelConfig": lambda: {"config": description.config()},
            "ModelStatistics": description.statistics,
            "RepositoryIndex": lambda: {"models": description.index(request.ready)},
            # Nothing is ever registered, so the truth is empty, and clearing it succeeds.
            "SystemSharedMemoryStatus": dict,
            "SystemSharedMemoryUnregister": dict,
            "CudaSharedMemoryStatus": dict,
            "CudaSharedMemoryUnregister": dict,
        }
        answer = answers.get(method)
        if answer is None:
            raise refusal(method)
        return answer()
