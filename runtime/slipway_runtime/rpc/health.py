"""`grpc.health.v1`: who asks is answered, who watches is told of each change until the server stops.

grpcio's own servicer forgets all watchers of a service when one of them leaves, and keeps watches open while the server
stops, which then waits for them until its grace has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from slipway_runtime.protocol.errors import ApiError, bad_request
from slipway_runtime.rpc.service import Gateway

NAME: Final = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


class Health:
    """One status for all services. Used from the loop's thread."""

    def __init__(self, services: Sequence[str], gateway: Gateway) -> None:
        self._services = frozenset(services)
        self._gateway = gateway
        self._status = health_pb2.HealthCheckResponse.NOT_SERVING
        self._changed = asyncio.Event()
        self._ended = False

    def tell(self, serving: bool) -> None:
        """From now on."""
        told = health_pb2.HealthCheckResponse
        self._status = told.SERVING if serving else told.NOT_SERVING
        self._wake()

    def end_watches(self) -> None:
        """Clients are told to watch another server."""
        self._ended = True
        self._wake()

    def handlers(self) -> Mapping[str, Any]:
        """By method."""
        return {
            f"/{NAME}/Check": grpc.stream_unary_rpc_method_handler(self._check),
            f"/{NAME}/Watch": grpc.stream_stream_rpc_method_handler(self._watch),
        }

    async def _check(self, _: object, context: Any) -> bytes:
        service = await self._asked(context)
        if service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, _unknown(service, self._services))
        return _answer(self._status)

    async def _watch(self, _: object, context: Any) -> None:
        service = await self._asked(context)
        told = None
        while not self._ended:
            changed = self._changed
            status = self._status
            if service not in self._services:
                status = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            if status != told:
                await context.write(_answer(status))
                told = status
            await changed.wait()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "This server is stopping; watch another.")

    async def _asked(self, context: Any) -> str:
        """The service that the call is about. Never returns for a call that is refused."""
        gateway = self._gateway
        connection = await gateway.let_in(context, health=True)
        try:
            message = await gateway.intake.only_message(context, connection)
            service: str = health_pb2.HealthCheckRequest.FromString(message).service
        except ApiError as error:
            await gateway.refuse(context, error)
            raise
        except DecodeError:
            await gateway.refuse(context, bad_request("invalid_message", "The message is no HealthCheckRequest."))
            raise
        return service

    def _wake(self) -> None:
        """Each watch waits for the change after the one that it has seen."""
        self._changed.set()
        self._changed = asyncio.Event()


def _answer(status: int) -> bytes:
    content: bytes = health_pb2.HealthCheckResponse(status=status).SerializeToString()
    return content


def _unknown(service: str, known: frozenset[str]) -> str:
    named = ", ".join(repr(name) for name in sorted(known))
    return f"There is no service {service[:64]!r} here. Ask for one of {named}; '' stands for the whole server."
