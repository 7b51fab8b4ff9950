"""Predictions that come by way of the application, because their path is not written as routes are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from fastapi import Request, Response

from slipway_runtime.http import exchange as http
from slipway_runtime.http.asgi import REPLY_KEY, REQUEST_KEY
from slipway_runtime.protocol.codec import Buffer
from slipway_runtime.serving.exchange import exchange_of

Find = Callable[[bytes], http.Handler | None]
"""A path without prefix and query to its handler."""


class _Answer:
    """`http.exchange.Reply` that a task waits for."""

    def __init__(self, reply: http.Reply) -> None:
        self._reply = reply
        self.on_disconnect: Callable[[], None] | None = None
        self.response: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def send(
        self, status: int, content_type: bytes, parts: Sequence[Buffer], headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        if self.response.done():
            return
        response = Response(b"".join(parts), status, media_type=content_type.decode("latin-1"))
        response.raw_headers += [(name.lower(), value) for name, value in headers]
        self.response.set_result(response)

    def charge(self, size_bytes: int) -> None:
        self._reply.charge(size_bytes)


class OddPaths:
    def __init__(self, find: Find) -> None:
        self._find = find

    async def answer(self, request: Request) -> Response | None:
        """None when no prediction is answered at this path."""
        given: http.Request = request.scope[REQUEST_KEY]
        path: str = request.scope["path"]
        handler = self._find(path.removeprefix(request.scope.get("root_path", "")).encode())
        if handler is None:
            return None
        exchange_of(request.scope).recorded = True
        answer = _Answer(request.scope[REPLY_KEY])
        handler(given, answer)
        try:
            return await answer.response
        except asyncio.CancelledError:
            if answer.on_disconnect is not None:
                answer.on_disconnect()
            raise
