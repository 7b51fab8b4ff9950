"""Which method answers a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc

from slipway_runtime.protocol.errors import ApiError
from slipway_runtime.rpc.service import Gateway


class Methods(grpc.GenericRpcHandler):  # type: ignore[misc]
    """By whole names, such as `/grpc.health.v1.Health/Check`; what has none is told which there are."""

    def __init__(self, handlers: Mapping[str, Any], gateway: Gateway) -> None:
        self._handlers = handlers
        self._gateway = gateway
        services = sorted({name.split("/")[1] for name in handlers})
        self._expected = ", ".join(services)

    def service(self, details: Any) -> Any:
        handler = self._handlers.get(details.method)
        return self._refusal(details.method) if handler is None else handler

    def _refusal(self, method: str) -> Any:
        message = f"There is no method {method[:200]!r} here, expected one of {self._expected}."

        async def refuse(_: object, context: Any) -> bytes:
            await self._gateway.let_in(context)
            await self._gateway.refuse(context, ApiError(501, "not_supported", message))
            return b""

        return grpc.stream_unary_rpc_method_handler(refuse)
