"""The admin port: probes, progress and metrics, in a thread of its own so that users' traffic never delays a probe."""

from __future__ import annotations

import socket
import threading
from asyncio import Runner
from collections.abc import Callable

import uvloop

from slipway_runtime.contract import LIVE_PATH, METRICS_PATH, READY_PATH, STARTUP_PATH, STATUS_PATH
from slipway_runtime.http.asgi import Receive, Scope, Send
from slipway_runtime.http.server import HttpServer
from slipway_runtime.lifecycle import Lifecycle
from slipway_runtime.metrics import Metrics
from slipway_runtime.protocol.jsontext import render
from slipway_runtime.serving.inspection import CONFIG_PATH, THREADS_PATH, Inspection

Answer = tuple[int, bytes, str]


class AdminApp:
    """Plain ASGI: it answers before the rest of the runtime is imported."""

    def __init__(self, lifecycle: Lifecycle, metrics: Metrics, inspection: Inspection) -> None:
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._inspection = inspection

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, body, content_type = self._answer(scope["method"], scope["path"], _accept(scope))
        headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
        if scope["path"] == METRICS_PATH:
            headers.append((b"vary", b"Accept"))
        if status == 405:
            headers.append((b"allow", b"GET, HEAD"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _answer(self, method: str, path: str, accept: bytes) -> Answer:
        lifecycle, inspection = self._lifecycle, self._inspection
        answers: dict[str, Callable[[], Answer]] = {
            STARTUP_PATH: lambda: self._probe("started", lifecycle.started),
            READY_PATH: lambda: self._probe("ready", lifecycle.ready),
            LIVE_PATH: lambda: self._probe("live", lifecycle.lost is None),
            STATUS_PATH: lambda: (200, lifecycle.status().to_json().encode(), "application/json"),
            METRICS_PATH: lambda: (200, *self._metrics.render(accept)),
            CONFIG_PATH: lambda: (200, render(inspection.configuration()), "application/json"),
            THREADS_PATH: lambda: (200, inspection.threads().encode(), "text/plain; charset=utf-8"),
        }
        answer = answers.get(path)
        if answer is None:
            error = f"There is no {path[:100]} here, expected one of {', '.join(answers)}."
            return 404, render({"error": error, "code": "route_not_found"}), "application/json"
        if method not in ("GET", "HEAD"):
            error = f"{method[:20]} is not answered here, expected GET or HEAD."
            return 405, render({"error": error, "code": "method_not_allowed"}), "application/json"
        return answer()

    def _probe(self, name: str, holds: bool) -> Answer:
        content = {name: holds, "phase": self._lifecycle.phase, "stage": self._lifecycle.describe_progress()}
        if self._lifecycle.lost:
            content["reason"] = self._lifecycle.lost
        return 200 if holds else 503, render(content), "application/json"


def _accept(scope: Scope) -> bytes:
    """A repeated header is one list."""
    return b",".join(value for name, value in scope["headers"] if name.lower() == b"accept")


def start_admin(app: AdminApp, listening: socket.socket) -> None:
    """Serves until the process ends."""

    def serve() -> None:
        with Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(HttpServer(app).serve(listening))

    threading.Thread(target=serve, name="admin", daemon=True).start()
