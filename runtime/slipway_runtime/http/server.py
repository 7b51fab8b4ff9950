"""The HTTP server on one port: who is connected, what they may ask for, the clock, and the end."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from email.utils import formatdate
from time import time
from types import MappingProxyType
from typing import Final

from slipway_runtime.contract import REVISION_HEADER, RuntimeConfig
from slipway_runtime.http.asgi import App
from slipway_runtime.http.auth import ApiKeys, presented_key
from slipway_runtime.http.budget import ByteBudget, memory_limit_bytes
from slipway_runtime.http.connection import Connection
from slipway_runtime.http.counts import HttpCounts
from slipway_runtime.http.exchange import Handler
from slipway_runtime.http.files import make_room
from slipway_runtime.http.head import Head
from slipway_runtime.http.heads import KnownHeads
from slipway_runtime.http.hurry import Hurry
from slipway_runtime.http.line import PendingReply
from slipway_runtime.http.rules import Rules
from slipway_runtime.http.tls import Certificate
from slipway_runtime.http.turnclock import TurnClock
from slipway_runtime.http.wire import new_request_id, send_error
from slipway_runtime.protocol.errors import ApiError, internal_error
from slipway_runtime.telemetry.record import RequestRecord

TICK_SECONDS: Final = 0.25
"""How exact deadlines and the Date header are."""
BACKLOG: Final = 2048
_RECEIVE_BYTES: Final = 256 * 1024
_DEFAULT_SHARE: Final = 4
_FINISH_MARGIN_SECONDS: Final = 1
"""After the request timeout every request has its answer; this long for the last byte to leave."""
_CUT_SECONDS: Final = 0.5
_REFUSED_CONNECTIONS: Final = 256
"""So many beyond the limit are told why; the rest are reset."""

log = logging.getLogger(__name__)


class HttpServer:
    """Used from the thread of the loop that calls `serve`."""

    def __init__(
        self,
        app: App,
        rules: Rules | None = None,
        *,
        keys: ApiKeys | None = None,
        screen: Callable[[Head], ApiError | None] = lambda head: None,
        observe: Callable[[RequestRecord], None] = lambda record: None,
        counts: HttpCounts | None = None,
        tls: Certificate | None = None,
    ) -> None:
        """`app` answers what no route does. `screen` may refuse a request once its head is known. `observe` is
        told of every request that was refused before anyone else saw it."""
        self.app = app
        self.rules = rules or Rules()
        self.budget = ByteBudget(self.rules.limits.max_inflight_bytes or memory_limit_bytes() // _DEFAULT_SHARE)
        self.counts = counts or HttpCounts()
        self.counts.budget = self.budget
        self.routes: Mapping[bytes, Handler] = MappingProxyType({})
        """Path to whoever answers POST there. The whole mapping is replaced when the model is ready."""
        self.heads = KnownHeads()
        self.draining = False
        """Every answer says that it is the last one of its connection."""
        self.connections: set[Connection] = set()
        self.buffer = memoryview(bytearray(_RECEIVE_BYTES))
        """Shared by all connections: what is in it is taken out before the loop goes on."""
        self.loop: asyncio.AbstractEventLoop = None  # type: ignore[assignment]
        self.received_at = TurnClock()
        self.now = 0.0
        """The loop's time at the last tick."""
        self.date_line = b""
        self.address: tuple[str, int] | None = None
        self.scheme = "http" if tls is None else "https"
        self._keys = keys
        self._screen = screen
        self._observe = observe
        self._tls = tls
        self._finishing = asyncio.Event()
        self._cutting = asyncio.Event()
        self._empty = asyncio.Event()

    @classmethod
    def of(
        cls,
        config: RuntimeConfig,
        app: App,
        *,
        keys: ApiKeys | None,
        screen: Callable[[Head], ApiError | None],
        observe: Callable[[RequestRecord], None],
        counts: HttpCounts,
        revision: str = "",
    ) -> HttpServer:
        """The inference port as it is configured. Raises `StartupError` for a certificate that cannot be used."""
        tls = Certificate(config.tls) if config.tls else None
        fitting = make_room(config.limits.max_connections)
        config = config.model_copy(update={"limits": config.limits.model_copy(update={"max_connections": fitting})})
        rules = replace(Rules.of(config), revision=revision)
        return cls(app, rules, keys=keys, screen=screen, observe=observe, counts=counts, tls=tls)

    # Life.

    async def serve(self, listening: socket.socket) -> None:
        """Until `finish` or `cut`, and until what is in flight then has been answered."""
        self.loop = asyncio.get_running_loop()
        name = listening.getsockname()
        self.address = (str(name[0]), int(name[1]))
        self._tick(self.loop.time())
        server = await self.loop.create_server(
            lambda: Connection(self),
            sock=listening,
            ssl=None if self._tls is None else self._tls.context,
            backlog=BACKLOG,
            ssl_handshake_timeout=None if self._tls is None else self.rules.limits.header_timeout_seconds,
        )
        try:
            await self._finishing.wait()
        finally:
            server.close()
            await self._end()
            self._timer.cancel()

    def drain(self) -> None:
        """Goes on accepting, and asks clients to come back by another connection."""
        self.draining = True

    def finish(self) -> None:
        """Accepts nothing new, and answers what is in flight."""
        self.draining = True
        self._finishing.set()

    def cut(self) -> None:
        """Answers what is in flight with 503, now."""
        self.finish()
        self._cutting.set()

    async def _end(self) -> None:
        """Everything that was accepted is answered or has timed out by then; what is left is cut."""
        for connection in list(self.connections):
            connection.close_when_idle()
        cutting = asyncio.ensure_future(self._cutting.wait())
        emptied = asyncio.ensure_future(self._wait_until_empty())
        patience = self.rules.request_timeout_seconds + _FINISH_MARGIN_SECONDS
        await asyncio.wait({cutting, emptied}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        cutting.cancel()
        error = ApiError(
            503, "draining", "The runtime was told to end before it answered.", headers={"Retry-After": "1"}
        )
        for connection in list(self.connections):
            connection.cut(error)
        await asyncio.wait({emptied}, timeout=_CUT_SECONDS)
        emptied.cancel()
        for connection in list(self.connections):
            connection.abort()

    async def _wait_until_empty(self) -> None:
        while self.connections:
            self._empty.clear()
            await self._empty.wait()

    # Time.

    def _tick(self, expected: float) -> None:
        self.now = now = self.loop.time()
        self.counts.lag_seconds.observe(max(0.0, now - expected))
        if self._tls is not None:
            self._tls.refresh()
        self.date_line = f"Date: {formatdate(time(), usegmt=True)}\r\n".encode()
        for connection in list(self.connections):
            # What came in while the loop was held up has not been looked at, so nobody is judged by that time yet.
            connection.check(expected)
            if self._finishing.is_set():
                connection.close_when_idle()
        self._timer = self.loop.call_later(TICK_SECONDS, self._tick, now + TICK_SECONDS)

    # What connections ask.

    def opened(self, connection: Connection) -> None:
        self.connections.add(connection)
        self.counts.opened += 1
        limit = self.rules.limits.max_connections
        beyond = len(self.connections) - limit
        if beyond > _REFUSED_CONNECTIONS:
            self.counts.refuse("too_many_connections")
            connection.abort()
        elif beyond > 0:
            connection.turn_away(
                ApiError(
                    503,
                    "too_many_connections",
                    f"There are {limit} connections already (maxConnections).",
                    headers={"Retry-After": str(random.randint(1, 3))},  # noqa: S311 - spreads clients, guards nothing
                )
            )

    def hurry(self, caller: Hurry, data: bytes) -> bool:
        """Whether `data` is one whole request that a shortcut takes. Its body is charged; the rest of what is counted
        and checked is as for any other. If not, it goes the usual way."""
        known, request_id = self.heads.find(data), b""
        if known is None:
            marked = self.heads.find_marked(data)
            if marked is None:
                return False
            known, request_id = marked
        shortcut, size = known.shortcut, known.body_bytes
        begin = known.size_bytes + len(request_id)
        if shortcut is None or not size or begin + size != len(data) or self.draining:
            return False
        if size > self.rules.max_request_bytes or not self.budget.take(size):
            return False
        if not (self._knows(known.head) and shortcut.take(caller, data, begin, request_id)):
            self.budget.give(size)
            return False
        caller.begin(shortcut, size)
        self.counts.requests += 1
        self.counts.request_bytes += size
        return True

    def closed(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self.counts.closed += 1
        if not self.connections:
            self._empty.set()

    def admit(self, head: Head) -> None:
        """Before the body is read. Raises `ApiError`."""
        keys = self._keys
        if keys is not None and head.path not in self.rules.open_paths and not keys.allows(presented_key(head.headers)):
            headers = {"WWW-Authenticate": 'Bearer realm="inference"'}
            if self.rules.revision and head.path in self.rules.verify_paths:
                headers[REVISION_HEADER] = self.rules.revision
            message = "An API key is needed: send Authorization: Bearer KEY, or X-API-Key: KEY."
            raise ApiError(401, "unauthenticated", message, headers=headers)
        refusal = self._screen(head)
        if refusal is not None:
            raise refusal

    def _knows(self, head: Head) -> bool:
        keys = self._keys
        return keys is None or head.path in self.rules.open_paths or keys.allows(presented_key(head.headers))

    def too_much(self, whole_bytes: int, more_bytes: int) -> ApiError:
        """Why a body cannot grow by `more_bytes` to `whole_bytes`."""
        limit = self.rules.max_request_bytes
        if whole_bytes > limit:
            return ApiError(
                413,
                "body_too_large",
                f"The body is larger than {limit} bytes (spec.traffic.maxRequestBytes). Send less at once.",
            )
        return self.over_budget(more_bytes)

    def over_budget(self, more_bytes: int) -> ApiError:
        return ApiError(
            429,
            "bytes_budget",
            f"Requests in flight hold {self.budget.used_bytes} of {self.budget.limit_bytes} bytes"
            f" (maxInflightBytes); another {more_bytes} do not fit now.",
            headers={"Retry-After": str(random.randint(1, 2))},  # noqa: S311 - spreads clients, guards nothing
        )

    def too_slow(self, in_head: bool) -> ApiError:
        if in_head:
            seconds: float = self.rules.limits.header_timeout_seconds
            message = f"The request's headers did not arrive within {seconds} seconds (headerTimeoutSeconds)."
            return ApiError(408, "headers_too_slow", message)
        seconds = self.rules.request_timeout_seconds
        message = f"The request's body did not arrive within {seconds} seconds (spec.traffic.requestTimeoutSeconds)."
        return ApiError(408, "body_too_slow", message)

    def refused(
        self, error: ApiError, head: Head | None, request_id: str, client: str, started_at: float, left_in: str = ""
    ) -> None:
        self.counts.refuse(error.code)
        record = RequestRecord(
            client=client, request_id=request_id, status=error.status, code=error.code, left_in=left_in
        )
        self._tell(record, head, started_at)

    def deserted(self, head: Head | None, client: str, started_at: float) -> None:
        """A client left before its request had come whole."""
        record = RequestRecord(client=client, request_id=new_request_id())
        record.leave("read")
        self._tell(record, head, started_at)

    def _tell(self, record: RequestRecord, head: Head | None, started_at: float) -> None:
        if head is not None:
            record.method, record.path = head.method.decode("latin-1"), head.path.decode("latin-1")
        if started_at:
            record.started_at = started_at
        self._observe(record)

    def fail(self, reply: PendingReply) -> None:
        """A fault of the runtime."""
        error = internal_error(reply.request_id)
        send_error(reply, error, request_id=reply.request_id, model=self.rules.model)
