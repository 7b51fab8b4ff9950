"""One client's connection: bytes in, requests out, answers back in order. Nothing here waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from slipway_runtime.http.asgi import AsgiReply
from slipway_runtime.http.exchange import Request
from slipway_runtime.http.head import Head, invalid_http
from slipway_runtime.http.hurry import Hurry
from slipway_runtime.http.intake import Intake
from slipway_runtime.http.line import Line, PendingReply
from slipway_runtime.http.sockets import has_input, was_reset
from slipway_runtime.http.wire import CONTINUE, choose_request_id, send_error
from slipway_runtime.protocol.codec import Buffer
from slipway_runtime.protocol.errors import ApiError

if TYPE_CHECKING:
    from slipway_runtime.http.server import HttpServer

KEEP_ALIVE_SECONDS: Final = 120
"""Longer than proxies keep theirs (nginx 60, Traefik 90), so that they close first and none meets a reset."""
_MAX_PIPELINED: Final = 16
"""Requests of one connection that are answered at the same time; the next ones wait in the socket."""
_WRITE_BUFFER_BYTES: Final = 256 * 1024
_LONG_BYTES: Final = 64 * 1024
"""So much at once is mostly one request's body, after a head that fits into `_HEAD_BYTES`."""
_HEAD_BYTES: Final = 8 * 1024
_LINGER_SECONDS: Final = 5.0
"""How long a refused client that is still sending may pause before the connection is closed."""
_LINGER_TLS_SECONDS: Final = 1.0
"""TLS cannot end one side alone, so there the client is only given time to read the answer."""
_NEVER: Final = float("inf")

log = logging.getLogger(__name__)


class Connection(asyncio.BufferedProtocol):
    """The server checks deadlines a few times a second, which is cheaper than a timer for each request."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._line = Line(self, server)
        self._transport: asyncio.Transport = None  # type: ignore[assignment]
        self.client = ""
        self.peer: tuple[str, int] | None = None
        self.read_deadline = _NEVER
        """Of an idle connection, or of one that is only read so that it sees its answer."""
        self.write_deadline = _NEVER
        """By then a client that reads slowly must have read on."""
        self.writable: asyncio.Event | None = None
        """Clear while the client reads slowly. Made when it is first needed."""
        self._intake = Intake(server, self)
        self._place: memoryview | None = None
        """Where the bytes go that are being received; None for the server's buffer."""
        self._stash = b""
        """Read already, and not looked at while the line is full."""
        self._receiving = False
        self._discarding = False
        """Nothing more is answered, so what comes in means nothing."""
        self._lingering = False
        self._ended = False
        """The client sends nothing more."""
        self._write_paused = False
        self._turned_away: ApiError | None = None
        self._given_up = False
        self._hurry = Hurry(server, self)

    # What the transport calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.peer = (str(peer[0]), int(peer[1]))
            self.client = self._hurry.client = self.peer[0]
        self.read_deadline = self._server.now + KEEP_ALIVE_SECONDS
        self._server.opened(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._note_departure()
        self._server.closed(self)
        self._hurry.end()
        self._drop_input()
        self.read_deadline = self.write_deadline = _NEVER
        if self.writable is not None:
            self.writable.set()
        self._line.abandon()

    def get_buffer(self, size_hint: int) -> memoryview:
        self._place = place = self._intake.place()
        return self._server.buffer if place is None else place

    def buffer_updated(self, size: int) -> None:
        if self._place is not None:
            self._intake.placed(size)
            return
        hurry = self._hurry
        if hurry.waits:
            hurry.stop()
        if size > _LONG_BYTES and not self._server.draining:
            self._receive_long(self._server.buffer[:size])
            return
        data = bytes(self._server.buffer[:size])
        if self._line.waiting or self._is_unusual() or not self._server.hurry(hurry, data):
            self._receive(data)

    def eof_received(self) -> bool:
        """Whether the transport stays open. A client may end its side and still read: then it gets its answers."""
        self._hurry.stop()
        self._ended = True
        if self._transport.get_extra_info("sslcontext") is not None:
            return False
        if self._intake.busy:
            self._refuse(invalid_http("the connection ended in the middle of it."), left_in="read")
        if not self._line.waiting:
            return False
        self.read_deadline = _NEVER
        self._provoke()
        return True

    def pause_writing(self) -> None:
        self._write_paused = True
        self.write_deadline = self._server.now + self._server.rules.request_timeout_seconds
        if self.writable is not None:
            self.writable.clear()
        self._steer_reading()

    def resume_writing(self) -> None:
        self._write_paused = False
        self.write_deadline = _NEVER
        if self.writable is not None:
            self.writable.set()
        self._steer_reading()

    def _note_departure(self) -> None:
        """What was neither read nor written whole, because the client is gone. `Line.abandon` tells of the rest."""
        if self._intake.busy:
            self._server.deserted(self._intake.head, self.client, self._intake.started_at)
        if not self._given_up:
            unwritten = self._write_paused or self._transport.get_write_buffer_size() > 0
            held = sum([reply.held is not None for reply in self._line.waiting])
            self._server.counts.departures["write"] += held + unwritten

    # The shortcut: what `Hurry` asks.

    def write_hurried(self, text: bytes, size_bytes: int) -> None:
        """A whole answer, whose body has `size_bytes`."""
        server = self._server
        self.read_deadline = server.now + KEEP_ALIVE_SECONDS
        server.counts.response_bytes += size_bytes
        self._transport.write(text)

    def receive_again(self, data: bytes, received_at: float) -> None:
        """A whole request that came at `received_at` (`time.perf_counter()`)."""
        self._intake.arrived_at = received_at
        self._receive(data)
        self._intake.arrived_at = 0.0

    def _is_unusual(self) -> bool:
        return (
            self._intake.busy
            or self._discarding
            or self._write_paused
            or self._ended
            or self._lingering
            or self._turned_away is not None
            or bool(self._stash)
        )

    # Input.

    def _receive_long(self, data: memoryview) -> None:
        """Copies the body once, to its place."""
        self._receive(bytes(data[:_HEAD_BYTES]))
        rest = self._intake.fill(data[_HEAD_BYTES:])
        if self._stash:
            self._stash += rest
        elif rest:
            self._intake.more = True
            self._receive(bytes(rest))

    def _receive(self, data: bytes) -> None:
        start, end = 0, len(data)
        if self._lingering:
            self.read_deadline = self._server.now + _LINGER_SECONDS
        if self._turned_away is not None and not self._discarding:
            self._refuse(self._turned_away)
        self._receiving = True
        while start < end and not self._discarding:
            if self._is_full():
                self._stash = data[start:]
                self._steer_reading()
                break
            try:
                start = self._intake.read(data, start)
            except ApiError as error:
                self._refuse(error)
        self._receiving = False

    def take(self, head: Head, body: Buffer) -> None:
        """A request is here whole."""
        server, intake = self._server, self._intake
        self.read_deadline = _NEVER
        request = Request(
            head.method,
            head.path,
            head.query,
            head.headers,
            body,
            intake.arrived_at or server.received_at(),
            intake.started_at,
            self.client,
            choose_request_id(head.headers.get(b"x-request-id")),
        )
        handler = server.routes.get(head.path) if head.method == b"POST" else None
        if handler is None:
            self._line_up(AsgiReply(self._line, head, request, self, server), head)
            return
        reply = PendingReply(self._line, request.request_id, head.version)
        self._line_up(reply, head)
        try:
            handler(request, reply)
        except Exception:
            log.exception("A request failed inside the runtime", extra={"request_id": request.request_id})
            server.fail(reply)

    def _line_up(self, reply: PendingReply, head: Head) -> None:
        counts = self._server.counts
        counts.requests += 1
        reply.charged_bytes = self._intake.release()
        counts.request_bytes += reply.charged_bytes
        if not head.keep_alive:
            reply.close = self._discarding = True
        self._line.add(reply)

    def _refuse(self, error: ApiError, left_in: str = "") -> None:
        """Nothing is read after this, since nobody knows where the next request would begin."""
        head, started_at = self._intake.head, self._intake.started_at
        self._drop_input()
        self._discarding = True
        reply = PendingReply(
            self._line,
            choose_request_id(head.headers.get(b"x-request-id") if head else None),
            head_only=head is not None and head.method == b"HEAD",
        )
        reply.close = reply.linger = True
        self.read_deadline = _NEVER
        self._line.add(reply)
        self._server.refused(error, head, reply.request_id, self.client, started_at, left_in)
        send_error(reply, error, request_id=reply.request_id, model=self._server.rules.model)

    def _drop_input(self) -> None:
        self._intake.drop()
        self._stash = b""

    def _is_full(self) -> bool:
        return len(self._line.waiting) >= _MAX_PIPELINED or self._write_paused

    def _steer_reading(self) -> None:
        if self._transport.is_closing():
            return
        if self._write_paused or self._stash:
            self._transport.pause_reading()
        elif not self._ended:
            self._transport.resume_reading()
        if self._stash and not self._write_paused and not self._receiving:
            self._server.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._stash and not self._is_full() and not self._transport.is_closing():
            data, self._stash = self._stash, b""
            self._receive(data)
            self._steer_reading()

    def offer_continue(self) -> None:
        """Only once the earlier answers are out, because the client takes it for the next one."""
        if self._intake.continue_due and not self._line.waiting:
            self._intake.continue_due = False
            self._transport.write(CONTINUE)

    # Output: what the line asks for.

    def is_last(self, reply: PendingReply) -> bool:
        """Asked while draining."""
        return len(self._line.waiting) == 1 and not self._intake.more and not self._stash

    def write(self, pieces: Sequence[bytes], size_bytes: int) -> None:
        self._server.counts.response_bytes += size_bytes
        if len(pieces) == 1:
            self._transport.write(pieces[0])
        else:
            self._transport.writelines(pieces)

    def after(self, reply: PendingReply) -> None:
        if reply.close:
            self._end(reply.linger)
        elif self._stash:
            self._steer_reading()
        elif not self._line.waiting:
            if self._ended:
                self._end(linger=False)
            elif self._intake.continue_due:
                self.offer_continue()
            elif not self._intake.busy:
                self.read_deadline = self._server.now + KEEP_ALIVE_SECONDS

    def _end(self, linger: bool) -> None:
        """A client that is still sending would lose the answer to a reset, so it is read on for a while."""
        now, rules = self._server.now, self._server.rules
        self._discarding = True
        self._line.abandon()
        if linger and not self._ended:
            self.read_deadline = now + _LINGER_TLS_SECONDS
            if self._transport.can_write_eof():
                self._lingering = True
                self._transport.write_eof()
                self.read_deadline = now + _LINGER_SECONDS
        else:
            self._transport.close()
        self.write_deadline = now + rules.request_timeout_seconds

    # Time.

    def check(self, now: float) -> None:
        """A few times a second."""
        if self.write_deadline <= now:
            self._give_up_writing()
        elif self._intake.deadline <= now:
            self._refuse(self._server.too_slow(self._intake.in_head))
        elif self.read_deadline <= now and not self._intake.busy and not self._hurry.waits:
            self.read_deadline = _NEVER
            self._transport.close()
        elif self._ended:
            self._notice_reset()

    def _give_up_writing(self) -> None:
        self.write_deadline = _NEVER
        self._given_up = True
        if not self._discarding:
            self._server.counts.refuse("reader_too_slow")
        self._transport.abort()

    def _notice_reset(self) -> None:
        """A client that left has answered the provocation with a reset, which no event tells of."""
        if not self._transport.is_closing() and was_reset(self._transport):
            self._transport.abort()

    def _provoke(self) -> None:
        """The end of the client's side looks the same whether it still reads or is gone. An interim answer, which
        every client of HTTP/1.1 must be able to skip (RFC 9110, section 15.2), makes one that is gone send a reset."""
        first = self._line.waiting[0]
        if first.version == "1.1" and not first.begun:
            self._transport.write(CONTINUE)
            self._server.loop.call_later(0.005, self._notice_reset)

    # Drain.

    @property
    def busy(self) -> bool:
        return bool(self._line.waiting) or self._intake.busy or self._hurry.waits

    def close_when_idle(self) -> None:
        if not self.busy and not has_input(self._transport):
            self._discarding = True
            self._transport.close()

    def cut(self, error: ApiError) -> None:
        """Whoever waits gets a word, and then the connection ends."""
        self._hurry.stop()
        for reply in list(self._line.waiting):
            if not reply.done and not reply.begun:
                send_error(reply, error, request_id=reply.request_id, model=self._server.rules.model)
                reply.forget()
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    async def drain(self) -> None:
        """Waits while the client reads slowly."""
        if self._write_paused:
            self.writable = self.writable or asyncio.Event()
            self.writable.clear()
            await self.writable.wait()

    def turn_away(self, error: ApiError) -> None:
        """Whatever it asks, the answer is `error`."""
        self._turned_away = error
        self.read_deadline = self._server.now + _LINGER_SECONDS
