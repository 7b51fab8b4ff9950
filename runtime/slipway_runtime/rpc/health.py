"""`grpc.health.v1`: who asks is answered, who watches is told of each change until the server stops.

grpcio's own servicer forgets all watchers of a service when one of them leaves, and keeps watches open while the server
stops, which then waits for them until its grace has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

NAME: Final = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """One status for all services. Used from the loop's thread."""

    def __init__(self, services: Sequence[str]) -> None:
        self._services = frozenset(services)
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

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol names it
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, _unknown(request.service, self._services))
        return health_pb2.HealthCheckResponse(status=self._status)

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802
        told = None
        while not self._ended:
            changed = self._changed
            status = self._status
            if request.service not in self._services:
                status = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            if status != told:
                await context.write(health_pb2.HealthCheckResponse(status=status))
                told = status
            await changed.wait()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "This server is stopping; watch another.")

    def _wake(self) -> None:
        """Each watch waits for the change after the one that it has seen."""
        self._changed.set()
        self._changed = asyncio.Event()


def _unknown(service: str, known: frozenset[str]) -> str:
    named = ", ".join(repr(name) for name in sorted(known))
    return f"There is no service {service[:64]!r} here. Ask for one of {named}; '' stands for the whole server."
