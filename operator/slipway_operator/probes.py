"""The operator's own HTTP port: /healthz, /readyz and /metrics.

Neither probe asks the API server: an outage of the API server must not restart every operator. A standby is ready as
well, since it can take over; a rollout that waited for all to lead would wait for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import web

from slipway_operator import clock
from slipway_operator.metrics import CONTENT_TYPE, Metrics

BEAT_SECONDS: Final = 1.0
LATE_SECONDS: Final = 10.0
"""A loop that is this late is blocked."""


class Heart:
    """Shows that the event loop turns."""

    def __init__(self) -> None:
        self._beat = clock.monotonic()

    async def run(self) -> None:
        while True:
            self._beat = clock.monotonic()
            await asyncio.sleep(BEAT_SECONDS)

    def problem(self) -> str | None:
        late = clock.monotonic() - self._beat
        return f"the event loop is {late:.0f} s late" if late > LATE_SECONDS else None


def application(
    metrics: Metrics,
    *,
    health_problem: Callable[[], str | None],
    ready_problem: Callable[[], str | None],
    standing: Callable[[], str],
) -> web.Application:
    """A problem is a sentence; None is health. `standing` says whether this process leads."""

    def answer(problem: str | None, words: str = "ok") -> web.Response:
        return web.Response(text=f"{problem or words}\n", status=503 if problem else 200)

    async def healthz(request: web.Request) -> web.Response:
        return answer(health_problem())

    async def readyz(request: web.Request) -> web.Response:
        return answer(ready_problem(), f"ok: {standing()}")

    async def metrics_text(request: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics_text)
    return app


async def serve(app: web.Application, port: int) -> web.AppRunner:
    """On all addresses, because the kubelet asks from outside the pod. The caller cleans the runner up."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    await web.TCPSite(runner, port=port, shutdown_timeout=1).start()
    return runner
