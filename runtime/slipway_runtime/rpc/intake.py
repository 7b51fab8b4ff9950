"""Messages on their way in: how long one may take, and how much memory all of them may hold before they are whole.

gRPC's core keeps what has come of a message until it is whole, and tells nobody how much that is. So it is taken from
what the kernel counted for each connection, as often as a reader has waited for a while.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from slipway_runtime.http.budget import ByteBudget
from slipway_runtime.protocol.errors import ApiError
from slipway_runtime.rpc.connections import Connection, Connections
from slipway_runtime.rpc.counts import MESSAGE_UNREAD, GrpcCounts

_TICK_SECONDS: Final = 0.25
_LOOK_SHARE: Final = 20
"""Looking takes at most one part in so many of the loop's time."""
_GRACE_BYTES: Final = 256 * 1024
"""Of each connection, not counted: streams may send so much before anybody reads."""
_CANCEL_SECONDS: Final = 1.0


class _Reading:
    __slots__ = ("connection", "overdue", "refused", "since", "task", "timeout_seconds")

    def __init__(
        self, connection: Connection, task: asyncio.Task[Any] | None, since: float, timeout_seconds: float | None
    ) -> None:
        self.connection = connection
        self.task = task
        self.since = since
        self.timeout_seconds = timeout_seconds
        self.overdue = False
        self.refused: ApiError | None = None

    def refuse(self, error: ApiError) -> None:
        if self.refused is None and self.task is not None:
            self.refused = error
            self.task.cancel()


class Intake:
    """Used from the loop's thread."""

    def __init__(
        self,
        limit_bytes: int,
        timeout_seconds: float,
        budget: ByteBudget,
        connections: Connections,
        counts: GrpcCounts,
    ) -> None:
        self._limit_bytes = limit_bytes
        self.timeout_seconds = timeout_seconds
        self._budget = budget
        self._counts = counts
        self._connections = connections
        self._reading: dict[_Reading, None] = {}
        """The one that waits the longest first."""
        self._held_bytes = 0
        """What the budget holds for messages that are not whole."""
        self._ticking = False

    async def only_message(self, context: Any, connection: Connection) -> bytes:
        """Of a call that has one. Raises `ApiError`; is cancelled where the client left, or core ended the call."""
        message = await self.next_message(context, connection, self.timeout_seconds)
        if message is None:
            await self._tell_why(context)
            raise ApiError(400, "missing_message", "The call ended without a message, expected one.")
        self.check_size(len(message))
        return message

    async def next_message(
        self, context: Any, connection: Connection, timeout_seconds: float | None = None
    ) -> bytes | None:
        """None where there is none any more. Raises `ApiError` where it takes too long or too much memory."""
        reading = self._begin(connection, timeout_seconds)
        try:
            message = await context.read()
        except asyncio.CancelledError:
            if reading.refused is None or reading.task is None or reading.task.uncancel():
                raise
            raise reading.refused from None
        finally:
            del self._reading[reading]
            connection.readers -= 1
        if not isinstance(message, bytes):
            return None
        connection.read(len(message))
        if self._held_bytes:
            self._hold(self._held_bytes - min(self._held_bytes, len(message), connection.unread_bytes))
        return message

    def check_size(self, size_bytes: int) -> None:
        """Raises `ApiError`."""
        if size_bytes > self._limit_bytes:
            raise ApiError(
                413,
                "body_too_large",
                f"The message has {size_bytes} bytes, expected at most {self._limit_bytes}"
                " (spec.traffic.maxRequestBytes). Send less at once.",
            )

    def _begin(self, connection: Connection, timeout_seconds: float | None) -> _Reading:
        loop = asyncio.get_running_loop()
        reading = _Reading(connection, asyncio.current_task(loop), loop.time(), timeout_seconds)
        connection.readers += 1
        self._reading[reading] = None
        if not self._ticking:
            self._ticking = True
            loop.call_later(_TICK_SECONDS, self._tick, loop)
        return reading

    async def _tell_why(self, context: Any) -> None:
        """Core says in the same way that a client left, that its deadline is over and that its message was refused: the
        message is missing, and a moment later the call is cancelled. A client that sent none is not cancelled."""
        try:
            await asyncio.sleep(_CANCEL_SECONDS)
        except asyncio.CancelledError:
            if context.time_remaining() != 0:
                self._counts.refusals[MESSAGE_UNREAD] += 1
            raise

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        begun = loop.time()
        oldest = next(iter(self._reading), None)
        if oldest is None:
            self._ticking = False
            self._hold(0)
            return
        if oldest.since <= begun - _TICK_SECONDS:
            self._look(begun - _TICK_SECONDS)
            self._end_slow(begun)
        loop.call_later(max(_TICK_SECONDS, _LOOK_SHARE * (loop.time() - begun)), self._tick, loop)

    def _end_slow(self, now: float) -> None:
        for reading in self._reading:
            if reading.since > now - _TICK_SECONDS:
                return
            if reading.timeout_seconds is None or reading.since + reading.timeout_seconds > now:
                continue
            if not reading.overdue:
                # What came while the loop was held up is looked at first.
                reading.overdue = True
                continue
            reading.refuse(
                ApiError(
                    408,
                    "body_too_slow",
                    f"The message did not arrive within {reading.timeout_seconds} seconds"
                    " (spec.traffic.requestTimeoutSeconds).",
                )
            )

    def _look(self, before: float) -> None:
        """Charges what lies there, and refuses those who hold most of it where it is too much."""
        held = {
            connection: connection.unread_bytes
            for connection in self._connections.look()
            if connection.unread_bytes > _GRACE_BYTES
        }
        self._hold(sum(held.values()))
        budget = self._budget
        while budget.used_bytes > budget.limit_bytes and held:
            most = max(held, key=held.__getitem__)
            readings = [reading for reading in self._reading if reading.connection is most and reading.since <= before]
            if len(readings) == 1 and budget.used_bytes == held[most]:
                return  # whoever comes alone may have it
            size = held.pop(most)
            if not readings:
                continue  # none has waited for long yet
            error = self._too_much(size)
            for reading in readings:
                reading.refuse(error)
            most.unread_bytes = 0
            self._hold(self._held_bytes - size)

    def _too_much(self, held_bytes: int) -> ApiError:
        budget = self._budget
        return ApiError(
            429,
            "bytes_budget",
            f"Requests in flight hold {budget.used_bytes} of {budget.limit_bytes} bytes (maxInflightBytes),"
            f" {held_bytes} of them for messages of this connection that are not whole yet.",
            headers={"Retry-After": "1"},
        )

    def _hold(self, size_bytes: int) -> None:
        self._budget.used_bytes += size_bytes - self._held_bytes
        self._held_bytes = size_bytes
