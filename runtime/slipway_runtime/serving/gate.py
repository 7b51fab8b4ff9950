"""The outermost layer of the inference port: request ids, the Ingress's prefix, the answers while there is no model
yet, the drain, and the count of every request whatever becomes of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect

from slipway_runtime.contract import RuntimeConfig
from slipway_runtime.lifecycle import Lifecycle
from slipway_runtime.metrics import Metrics
from slipway_runtime.protocol.errors import ApiError
from slipway_runtime.serving.exchange import (
    SCOPE_KEY,
    Exchange,
    choose_request_id,
    error_response,
    exchange_of,
    json_response,
)
from slipway_runtime.telemetry.record import RequestRecord

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_LOADING_RETRY_SECONDS: Final = 5
_CLIENT_CLOSED: Final = 499
"""Not an HTTP status: nobody is left to read one. Source: nginx."""

_ROUTES: Final = frozenset({"v2", "predict", "docs", "openapi.json"})

log = logging.getLogger(__name__)


class Gate:
    def __init__(self, config: RuntimeConfig, lifecycle: Lifecycle, metrics: Metrics) -> None:
        self._config = config
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._app: App | None = None

    def open(self, app: App) -> None:
        """From now on `app` answers."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        exchange = Exchange(choose_request_id(headers.get("x-request-id")))
        scope[SCOPE_KEY] = exchange
        self._strip_prefix(scope)
        self._metrics.request_counts.in_flight += 1
        try:
            await self._answer(scope, receive, self._finish_headers(exchange, send), exchange)
        finally:
            self._metrics.request_counts.in_flight -= 1
        self._count(exchange)
        if exchange.status >= 500 and not (self._lifecycle.draining or exchange.reason == "loading"):
            log.warning(
                "A request was answered %d",
                exchange.status,
                extra={"request_id": exchange.request_id, "reason": exchange.reason, "path": scope["path"]},
            )

    async def _answer(self, scope: Scope, receive: Receive, send: Send, exchange: Exchange) -> None:
        app = self._app or self._answer_while_loading
        try:
            await app(scope, receive, send)
        except ClientDisconnect:
            exchange.reason, exchange.status = "client_closed", _CLIENT_CLOSED
        except asyncio.CancelledError:
            # Only an end that was hurried cancels a request; a word for its client is all that there is time for.
            error = ApiError(
                503, "draining", "The runtime was told to end before it answered.", headers={"Retry-After": "1"}
            )
            await self._answer_error(error, scope, receive, send)
        except Exception:
            log.exception("A request failed inside the runtime", extra={"request_id": exchange.request_id})
            error = ApiError(500, "internal", f"The runtime failed; its log has the cause under {exchange.request_id}.")
            await self._answer_error(error, scope, receive, send)

    async def _answer_error(self, error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
        """Too late once the answer has begun."""
        exchange = exchange_of(scope)
        if not exchange.status:
            await error_response(error, exchange, self._config.name)(scope, receive, send)

    def _finish_headers(self, exchange: Exchange, send: Send) -> Send:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = exchange.request_id
                if self._lifecycle.draining:
                    headers["Connection"] = "close"
            await send(message)

        return send_with_headers

    async def _answer_while_loading(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].removeprefix(scope.get("root_path", "")) == "/v2/health/live":
            response = json_response({"live": True})
        else:
            error = ApiError(
                503,
                "loading",
                f"The model is not ready yet ({self._lifecycle.describe_progress()}).",
                headers={"Retry-After": str(_LOADING_RETRY_SECONDS)},
            )
            response = error_response(error, scope[SCOPE_KEY], self._config.name)
        await response(scope, receive, send)

    def _strip_prefix(self, scope: Scope) -> None:
        """The Service is asked without the prefix and the Ingress with it; both mean the same."""
        prefix, path = self._config.root_path, scope["path"]
        if not prefix or not (path == prefix or path.startswith(prefix + "/")):
            return
        rest = path[len(prefix) :]
        # A prefix may begin like a route of ours, as /predict does; then the path decides by how it goes on.
        if _first_segment(prefix) in _ROUTES and _first_segment(rest) not in _ROUTES:
            return
        scope["root_path"] = prefix
        scope["path"] = prefix + (rest or "/")

    def _count(self, exchange: Exchange) -> None:
        seconds = time.perf_counter() - exchange.started_seconds
        self._metrics.request_counts.count(
            RequestRecord(exchange.protocol, status=exchange.status, code=exchange.reason, total_seconds=seconds)
        )


def _first_segment(path: str) -> str:
    return path.lstrip("/").partition("/")[0]
