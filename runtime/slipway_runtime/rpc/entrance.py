"""Who may call, before a call's message is read. What this refuses has words and a count; core's refusals have neither.

gRPC's core takes connections, calls and metadata a little beyond the limits, so that most of those who ask for too much
are answered here.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from slipway_runtime.contract import LimitsConfig
from slipway_runtime.protocol.errors import ApiError
from slipway_runtime.rpc.connections import Connection, Connections
from slipway_runtime.rpc.counts import GrpcCounts

SPARE_PLACES: Final = 256
"""Beyond `maxConnections`: connections and calls of health, which is asked most when there is too much of all else."""
_IDLE_SECONDS: Final = 10.0
"""A stream that was silent for so long may lose its place to a call that finds none."""


class Entrance:
    """Used from the loop's thread."""

    def __init__(self, limits: LimitsConfig, connections: Connections, counts: GrpcCounts) -> None:
        self._limits = limits
        self._counts = counts
        self._connections = connections
        self.asked = 0
        """Calls since the start that were not about health: who looks after the server does not hold up its end."""
        self._idle: dict[Callable[[], object], float] = {}
        """How to end each stream that waits for its client, and since when; the longest first."""

    def enter(self, context: Any, *, health: bool = False) -> Connection:
        """Takes a place until the call has ended; what it came by. Raises `ApiError`."""
        limits, counts = self._limits, self._counts
        counts.begun += 1
        self.asked += not health
        connection = self._connections.find(context.peer())
        if connection is None:
            raise ApiError(
                503,
                "too_many_connections",
                f"There are {limits.max_connections} gRPC connections already (maxConnections). Use one connection for"
                " many calls, or run more pods.",
                headers=_later(),
            )
        if counts.open >= limits.max_connections + health * SPARE_PLACES and not self._make_room():
            raise ApiError(
                429,
                "too_many_calls",
                f"There are {counts.open} gRPC calls open, as many as one pod may hold (maxConnections). Try again"
                " later, or run more pods.",
                headers=_later(),
            )
        counts.open += 1
        context.add_done_callback(self._leave)
        self._check(context.invocation_metadata() or ())
        return connection

    def idle(self, end: Callable[[], object]) -> None:
        """A stream waits for its client; `end` would end it."""
        self._idle[end] = monotonic()

    def busy(self, end: Callable[[], object]) -> None:
        """It no longer does."""
        self._idle.pop(end, None)

    def _leave(self, context: Any) -> None:
        self._counts.open -= 1

    def _make_room(self) -> bool:
        """Ends the stream that was idle the longest; its place is free a little later."""
        for end, since in self._idle.items():
            if monotonic() - since < _IDLE_SECONDS:
                return False
            del self._idle[end]
            end()
            return True
        return False

    def _check(self, metadata: tuple[tuple[str, str | bytes], ...]) -> None:
        most, most_bytes = self._limits.max_header_count, self._limits.max_header_bytes
        if len(metadata) > most:
            raise ApiError(
                431,
                "headers_too_large",
                f"The call has {len(metadata)} entries of metadata, expected at most {most} (maxHeaderCount).",
            )
        size = sum([len(name) + len(value) for name, value in metadata])
        if size > most_bytes:
            raise ApiError(
                431,
                "headers_too_large",
                f"The call's metadata has {size} bytes, expected at most {most_bytes} (maxHeaderBytes).",
            )


def _later() -> dict[str, str]:
    return {"Retry-After": str(random.randint(1, 3))}  # noqa: S311 - spreads clients, guards nothing
