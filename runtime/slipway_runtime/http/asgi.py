"""The way of a request to an ASGI application: metadata, documentation, and whatever is no inference route."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from slipway_runtime.http.exchange import Request
from slipway_runtime.http.head import Head
from slipway_runtime.http.line import Line, PendingReply
from slipway_runtime.http.wire import BODILESS, CLOSE, KEEP_ALIVE, header, status_line

if TYPE_CHECKING:
    from slipway_runtime.http.connection import Connection
    from slipway_runtime.http.server import HttpServer

REQUEST_KEY: Final = "slipway.request"
"""In the scope: the whole `exchange.Request`, whose body `receive` gives as well."""
REPLY_KEY: Final = "slipway.reply"
"""In the scope: the `exchange.Reply` of the request, for what an application of ours needs of it but the answer."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_ANSWERED_HERE: Final = frozenset({b"connection", b"date", b"x-request-id", b"transfer-encoding"})

log = logging.getLogger(__name__)


class AsgiReply(PendingReply):
    """Runs the application once everything before it was answered. The body is here already."""

    __slots__ = (
        "_chunks",
        "_connection",
        "_disconnected",
        "_head",
        "_left_bytes",
        "_request",
        "_server",
        "_start",
        "_task",
    )

    def __init__(self, line: Line, head: Head, request: Request, connection: Connection, server: HttpServer) -> None:
        super().__init__(line, request.request_id, head.version, head.method == b"HEAD")
        self._head = head
        self._request: Request | None = request
        self._connection = connection
        self._server = server
        self._disconnected = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._start: Message | None = None
        self._chunks = False
        self._left_bytes: int | None = None

    def begin(self) -> None:
        if not self.done:
            self._task = self._server.loop.create_task(self._run())

    def forget(self) -> None:
        super().forget()
        self._disconnected.set()
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        assert self._request is not None
        scope = _scope(self._head, self._request, self._connection, self._server)
        scope[REPLY_KEY] = self
        try:
            await self._server.app(scope, self._receive, self._send)
        except Exception:
            log.exception("A request failed inside the runtime", extra={"request_id": self.request_id})
        if self.done:
            return
        if self.begun:
            # Half an answer cannot be taken back; the broken connection tells that it is half.
            self._connection.abort()
        else:
            self._server.fail(self)

    async def _receive(self) -> Message:
        request, self._request = self._request, None
        if request is not None:
            return {"type": "http.request", "body": bytes(request.body), "more_body": False}
        await self._disconnected.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self.done:
            return
        if message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "http.response.body":
            assert self._start is not None, "ASGI: the body comes after the start"
            await self._send_body(message.get("body", b""), message.get("more_body", False))

    async def _send_body(self, body: bytes, more: bool) -> None:
        assert self._start is not None
        if not self.begun and not more:
            self._send_whole(self._start["status"], self._start.get("headers", ()), body)
            return
        if not self.begun:
            self._send_head(self._start["status"], self._start.get("headers", ()))
        pieces = self._frame(body, more)
        if pieces:
            self._connection.write(pieces, len(body))
        if not more:
            self._finish()
        else:
            await self._connection.drain()

    def _send_whole(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        kept = [(name, value) for name, value in headers if name.lower() not in _ANSWERED_HERE]
        content_type = b"application/octet-stream"
        size: bytes | None = None
        for name, value in kept:
            if name.lower() == b"content-type":
                content_type = value
            elif name.lower() == b"content-length":
                size = value
        rest = [pair for pair in kept if pair[0].lower() not in (b"content-type", b"content-length")]
        if self.head_only and size is not None and not body:
            # What GET would have told; the application knows, and sends no body for HEAD.
            self._head_answer(status, content_type, int(size), rest)
            return
        self.close = self.close or _asks_to_close(headers)
        self.send(status, content_type, [body], rest)

    def _head_answer(self, status: int, content_type: bytes, size: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.done = True
        last = self.close or (self._server.draining and self._connection.is_last(self))
        self.close = last
        self._connection.write([self.line.head(self, status, content_type, size, headers, last)], 0)
        self.line.leave()

    def _send_head(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """For an answer in several parts."""
        self.begun = True
        kept = [(name, value) for name, value in headers if name.lower() not in _ANSWERED_HERE]
        sizes = [int(value) for name, value in kept if name.lower() == b"content-length"]
        last = self.close or _asks_to_close(headers) or (self._server.draining and self._connection.is_last(self))
        if sizes:
            self._left_bytes = sizes[0]
        elif status not in BODILESS and not self.head_only:
            if self.version == "1.1":
                self._chunks = True
                kept.append((b"Transfer-Encoding", b"chunked"))
            else:
                last = True  # HTTP/1.0 knows the end of such an answer by the end of the connection
        self.close = last
        lines = [status_line(status), *(header(name, value) for name, value in kept)]
        lines += [header(b"X-Request-Id", self.request_id.encode("latin-1")), self._server.date_line]
        if last or self.version == "1.0":
            lines.append(CLOSE if last else KEEP_ALIVE)
        self._connection.write([b"".join(lines) + b"\r\n"], 0)

    def _frame(self, body: bytes, more: bool) -> list[bytes]:
        if self.head_only:
            return []
        if self._left_bytes is not None:
            self._left_bytes -= len(body)
            return [body] if body else []
        if not self._chunks:
            return [body] if body else []
        pieces = [b"%x\r\n" % len(body), body, b"\r\n"] if body else []
        return pieces if more else [*pieces, b"0\r\n\r\n"]

    def _finish(self) -> None:
        if self._left_bytes and not self.head_only:
            log.error("An answer is not as long as it said", extra={"request_id": self.request_id})
            self._connection.abort()
            return
        self.done = True
        self.line.give_back(self)
        self.line.leave()


def _asks_to_close(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    return any(name.lower() == b"connection" and b"close" in value.lower() for name, value in headers)


def _scope(head: Head, request: Request, connection: Connection, server: HttpServer) -> Scope:
    path = unquote_to_bytes(head.path).decode("utf-8", "replace") if b"%" in head.path else head.path.decode("latin-1")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": head.version,
        "server": server.address,
        "client": connection.peer,
        "scheme": server.scheme,
        "method": head.method.decode("latin-1"),
        "root_path": "",
        "path": path,
        "raw_path": head.path,
        "query_string": head.query,
        "headers": head.fields,
        REQUEST_KEY: request,
    }
