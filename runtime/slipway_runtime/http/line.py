"""The answers of one connection, in the order of its requests, whichever is ready first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from slipway_runtime.http.budget import ByteBudget
from slipway_runtime.http.wire import BODILESS, CLOSE, KEEP_ALIVE, header, status_line
from slipway_runtime.protocol.codec import Buffer
from slipway_runtime.protocol.errors import ApiError

_JOIN_BYTES: Final = 64 * 1024
"""Smaller answers leave in one piece; larger ones are not copied just to be one."""

Headers = Sequence[tuple[bytes, bytes]]


class Output(Protocol):
    """What a line needs of its connection."""

    def write(self, pieces: Sequence[bytes], size_bytes: int) -> None:
        """One after another. `size_bytes` is the body's part."""

    def is_last(self, reply: PendingReply) -> bool:
        """Whether the client is to be told that nothing is answered after this."""

    def after(self, reply: PendingReply) -> None:
        """The answer was written whole and has left the line."""


class House(Protocol):
    """What all lines of a server share."""

    budget: ByteBudget
    draining: bool
    date_line: bytes

    def over_budget(self, more_bytes: int) -> ApiError:
        """Why the budget does not take `more_bytes`."""


class PendingReply:
    """`exchange.Reply` of one request. The memory it is charged with is given back when it is over."""

    __slots__ = (
        "begun",
        "charged_bytes",
        "close",
        "done",
        "head_only",
        "held",
        "line",
        "linger",
        "on_disconnect",
        "request_id",
        "version",
    )

    def __init__(self, line: Line, request_id: str, version: str = "1.1", head_only: bool = False) -> None:
        self.line = line
        self.request_id = request_id
        self.version = version
        self.head_only = head_only
        self.on_disconnect: Callable[[], None] | None = None
        self.close = False
        """Nothing is answered after this."""
        self.linger = False
        """The client may still be sending, so its bytes are read until it has seen the answer."""
        self.charged_bytes = 0
        self.begun = False
        """A part of the answer is on its way, so that nothing else may stand before the rest of it."""
        self.done = False
        self.held: tuple[list[bytes], int] | None = None
        """The answer and its body's size, while others must leave before it."""

    def begin(self) -> None:
        """Everything before it was answered."""

    def forget(self) -> None:
        """Nobody waits for it any more."""
        self.done = True
        if self.on_disconnect is not None:
            self.on_disconnect()

    def send(self, status: int, content_type: bytes, parts: Sequence[Buffer], headers: Headers = ()) -> None:
        if not self.done:
            self.done = True
            self.line.answer(self, status, content_type, parts, headers)

    def charge(self, size_bytes: int) -> None:
        if not self.done:
            self.line.charge(self, size_bytes)


class Line:
    __slots__ = ("_house", "_output", "waiting")

    def __init__(self, output: Output, house: House) -> None:
        self.waiting: deque[PendingReply] = deque()
        self._output = output
        self._house = house

    def add(self, reply: PendingReply) -> None:
        waiting = self.waiting
        if not waiting:
            waiting.append(reply)
            reply.begin()
        else:
            waiting.append(reply)

    def answer(
        self, reply: PendingReply, status: int, content_type: bytes, parts: Sequence[Buffer], headers: Headers
    ) -> None:
        if reply.charged_bytes:
            self.give_back(reply)
        size = 0
        for part in parts:
            size += len(part) if type(part) is bytes else memoryview(part).nbytes
        first = self.waiting[0] is reply
        last = reply.close or (first and self._house.draining and self._output.is_last(reply))
        head = self.head(reply, status, content_type, size, headers, last)
        pieces = [head] if reply.head_only or status in BODILESS else _pieces(head, parts, size)
        if first:
            reply.close = last
            self._output.write(pieces, size)
            self.leave()
        else:
            reply.held = (pieces, size)

    def head(
        self, reply: PendingReply, status: int, content_type: bytes, size: int, headers: Headers, last: bool
    ) -> bytes:
        rest = b"".join([header(name, value) for name, value in headers]) if headers else b""
        if last:
            rest += CLOSE
        elif reply.version == "1.0":
            rest += KEEP_ALIVE
        if status in BODILESS:
            return b"%b%b%b\r\n" % (status_line(status), self._house.date_line, rest)
        return b"%bContent-Type: %b\r\nContent-Length: %d\r\nX-Request-Id: %b\r\n%b%b\r\n" % (
            status_line(status),
            content_type,
            size,
            reply.request_id.encode("latin-1"),
            self._house.date_line,
            rest,
        )

    def leave(self) -> None:
        """The first was written; whoever was waiting for it and is ready follows."""
        waiting, output = self.waiting, self._output
        output.after(waiting.popleft())
        while waiting:
            reply = waiting[0]
            if reply.held is None:
                reply.begin()
                return
            output.write(*reply.held)
            output.after(waiting.popleft())

    def abandon(self) -> None:
        """The client left."""
        waiting = list(self.waiting)
        self.waiting.clear()
        for reply in waiting:
            self.give_back(reply)
            if not reply.done:
                reply.forget()

    def charge(self, reply: PendingReply, size_bytes: int) -> None:
        if not self._house.budget.take(size_bytes):
            raise self._house.over_budget(size_bytes)
        reply.charged_bytes += size_bytes

    def give_back(self, reply: PendingReply) -> None:
        self._house.budget.give(reply.charged_bytes)
        reply.charged_bytes = 0


def _pieces(head: bytes, parts: Sequence[Buffer], size: int) -> list[bytes]:
    if size <= _JOIN_BYTES:
        return [b"".join((head, *parts))]
    # What may change after this call is copied; bytes cannot.
    return [head, *(part if type(part) is bytes else bytes(part) for part in parts)]
