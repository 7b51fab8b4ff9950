"""The outermost layer of what FastAPI answers: the Ingress's prefix, the answers while there is no model yet, and the
count of every request whatever becomes of it."""

from __future__ import annotations

import logging
from typing import Final

from starlette.requests import ClientDisconnect

from slipway_runtime.contract import RuntimeConfig
from slipway_runtime.http.asgi import REQUEST_KEY, App, Message, Receive, Scope, Send
from slipway_runtime.http.exchange import Request
from slipway_runtime.http.head import Head
from slipway_runtime.lifecycle import Lifecycle
from slipway_runtime.protocol.errors import ApiError, internal_error
from slipway_runtime.protocol.paths import protocols_for
from slipway_runtime.serving.exchange import SCOPE_KEY, Exchange, error_response, json_response
from slipway_runtime.telemetry.record import RequestRecord
from slipway_runtime.telemetry.telemetry import Telemetry

_LOADING_RETRY_SECONDS: Final = 5
_LIVE: Final = b"/v2/health/live"
_ROUTES: Final = frozenset({"v1", "v2", "predict", "docs", "openapi.json"})

log = logging.getLogger(__name__)


class Gate:
    def __init__(self, config: RuntimeConfig, lifecycle: Lifecycle, telemetry: Telemetry) -> None:
        self._config = config
        self._lifecycle = lifecycle
        self._telemetry = telemetry
        self._app: App | None = None
        paths = protocols_for(config.name)
        self._protocols = {prefix + path: paths[path] for prefix in ("", config.root_path) for path in paths}

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
        if record.method == "POST":
            record.protocol = self._protocols.get(record.path, "other")
        self._telemetry.begin(record)
        self._telemetry.finish(record)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request: Request = scope[REQUEST_KEY]
        self._strip_prefix(scope)
        record = RequestRecord(
            method=scope["method"],
            path=scope["path"],
            client=request.client,
            request_id=request.request_id,
            bytes_in=len(request.body),
            started_at=request.started_at,
        )
        exchange = scope[SCOPE_KEY] = Exchange(record)

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
            else:
                record.bytes_out += len(message.get("body", b""))
            await send(message)

        try:
            await self._answer(scope, receive, send_and_note, exchange)
        finally:
            if not exchange.recorded:
                self._finish(record, request.headers.get(b"traceparent"))

    async def _answer(self, scope: Scope, receive: Receive, send: Send, exchange: Exchange) -> None:
        app = self._app or _answer_live
        record = exchange.record
        try:
            await app(scope, receive, send)
        except ClientDisconnect:
            pass
        except Exception:
            log.exception("A request failed inside the runtime", extra={"request_id": record.request_id})
            if not record.status:  # else the answer has begun, and it is too late for another
                response = error_response(internal_error(record.request_id), exchange, self._config.name)
                await response(scope, receive, send)

    def _finish(self, record: RequestRecord, traceparent: bytes | None) -> None:
        if not record.status:
            # The client left, or the end was hurried and had its word.
            record.leave("compute")
        self._telemetry.begin(record, traceparent)
        self._telemetry.finish(record)

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


async def _answer_live(scope: Scope, receive: Receive, send: Send) -> None:
    await json_response({"live": True})(scope, receive, send)


def _first_segment(path: str) -> str:
    return path.lstrip("/").partition("/")[0]
