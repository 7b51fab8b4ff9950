"""The outermost layer of what FastAPI answers: the Ingress's prefix, the answers while there is no model yet, and the
count of every request whatever becomes of it."""

from __future__ import annotations

import logging
import time
from typing import Final

from starlette.requests import ClientDisconnect

from slipway_runtime.contract import RuntimeConfig
from slipway_runtime.http.asgi import REQUEST_KEY, App, Message, Receive, Scope, Send
from slipway_runtime.http.head import Head
from slipway_runtime.lifecycle import Lifecycle
from slipway_runtime.metrics import Metrics
from slipway_runtime.protocol.errors import ApiError
from slipway_runtime.serving.exchange import SCOPE_KEY, Exchange, error_response, json_response
from slipway_runtime.telemetry.record import RequestRecord

_LOADING_RETRY_SECONDS: Final = 5
_CLIENT_CLOSED: Final = 499
"""Not an HTTP status: nobody is left to read one. Source: nginx."""

_LIVE: Final = b"/v2/health/live"
_ROUTES: Final = frozenset({"v1", "v2", "predict", "docs", "openapi.json"})

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

    def screen(self, head: Head) -> ApiError | None:
        """Before the body is read: while there is no model, only liveness is answered."""
        if self._app is not None or head.path.endswith(_LIVE):
            return None
        return ApiError(
            503,
            "loading",
            f"The model is not ready yet ({self._lifecycle.describe_progress()}).",
            headers={"Retry-After": str(_LOADING_RETRY_SECONDS)},
        )

    def refused(self, record: RequestRecord) -> None:
        """One that was answered before it came here."""
        record.total_seconds = time.perf_counter() - record.started_at
        self._metrics.request_counts.count(record)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope[REQUEST_KEY].request_id)
        scope[SCOPE_KEY] = exchange
        self._strip_prefix(scope)

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
            await send(message)

        self._metrics.request_counts.in_flight += 1
        try:
            await self._answer(scope, receive, send_and_note, exchange)
        finally:
            self._metrics.request_counts.in_flight -= 1
            self._count(exchange)
        if exchange.status >= 500 and not self._lifecycle.draining:
            log.warning(
                "A request was answered %d",
                exchange.status,
                extra={"request_id": exchange.request_id, "reason": exchange.reason, "path": scope["path"]},
            )

    async def _answer(self, scope: Scope, receive: Receive, send: Send, exchange: Exchange) -> None:
        app = self._app or _answer_live
        try:
            await app(scope, receive, send)
        except ClientDisconnect:
            exchange.reason, exchange.status = "client_closed", _CLIENT_CLOSED
        except Exception:
            log.exception("A request failed inside the runtime", extra={"request_id": exchange.request_id})
            if not exchange.status:  # else the answer has begun, and it is too late for another
                message = f"The runtime failed; its log has the cause under {exchange.request_id}."
                response = error_response(ApiError(500, "internal", message), exchange, self._config.name)
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
        if exchange.recorded:
            return
        if not exchange.status:
            # The client left, or the end was hurried and had its word.
            exchange.reason, exchange.status = "client_closed", _CLIENT_CLOSED
        seconds = time.perf_counter() - exchange.started_seconds
        self._metrics.request_counts.count(
            RequestRecord(exchange.protocol, status=exchange.status, code=exchange.reason, total_seconds=seconds)
        )


async def _answer_live(scope: Scope, receive: Receive, send: Send) -> None:
    await json_response({"live": True})(scope, receive, send)


def _first_segment(path: str) -> str:
    return path.lstrip("/").partition("/")[0]
