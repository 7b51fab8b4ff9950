"""One runtime process from its first socket to its end: probes first, then the model, then traffic, then the drain."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from slipway_runtime.children import keep_reaping
from slipway_runtime.contract import FailureReason, RuntimeConfig, Stage
from slipway_runtime.dispatch import answers
from slipway_runtime.engines.engine import Engine
from slipway_runtime.failure import StartupError, write_termination_message
from slipway_runtime.http.auth import ApiKeys
from slipway_runtime.http.server import HttpServer
from slipway_runtime.lifecycle import Lifecycle
from slipway_runtime.logs import current_format
from slipway_runtime.metrics import Metrics
from slipway_runtime.serving.gate import Gate
from slipway_runtime.startup import Started, start_model
from slipway_runtime.telemetry.telemetry import Telemetry

if TYPE_CHECKING:
    from slipway_runtime.rpc.server import GrpcServer
    from slipway_runtime.serving.opening import Opened

_CLOSE_SECONDS: Final = 1
_WATCH_SECONDS: Final = 0.5
_QUIET_SECONDS: Final = 2
"""Without a new connection for so long, nobody is left who would open one."""

log = logging.getLogger(__name__)


class Haste(IntEnum):
    """How a stop was asked for. Every further signal goes one step on."""

    NONE = 0
    DRAIN = 1
    """Keep accepting while endpoints forget the pod, then finish."""
    FINISH = 2
    """Accept nothing new; finish what is in flight."""
    CUT = 3
    """End now."""


class StopSignals:
    """SIGTERM asks for a drain; SIGINT (a person at a terminal, behind no endpoint) for the finish alone."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._haste = Haste.NONE
        self._reached = {haste: asyncio.Event() for haste in Haste if haste}
        loop.add_signal_handler(signal.SIGTERM, self._advance, Haste.DRAIN)
        loop.add_signal_handler(signal.SIGINT, self._advance, Haste.FINISH)

    def _advance(self, least: Haste) -> None:
        self._haste = Haste(min(Haste.CUT, max(least, self._haste + 1)))
        log.info("Asked to stop (%s)", self._haste.name.lower())
        for haste, event in self._reached.items():
            if haste <= self._haste:
                event.set()

    async def wait(self, haste: Haste) -> None:
        await self._reached[haste].wait()


@dataclass(frozen=True)
class Server:
    """The parts that live as long as the process."""

    config: RuntimeConfig
    lifecycle: Lifecycle
    metrics: Metrics
    listening: socket.socket


async def run(server: Server) -> None:
    """Returns when drained; raises `StartupError` when it never came to serve."""
    loop = asyncio.get_running_loop()
    stop = StopSignals(loop)
    keep_reaping(loop)
    config = server.config
    telemetry = Telemetry(config, server.metrics, log_format=current_format(), call_later=loop.call_later)
    gate = Gate(config, server.lifecycle, telemetry)
    keys = ApiKeys(Path(config.auth.api_keys_path)) if config.auth else None
    http = HttpServer.of(
        config,
        gate,
        keys=keys,
        screen=gate.screen,
        observe=gate.refused,
        counts=server.metrics.http_counts,
        revision=server.lifecycle.revision,
    )
    serving = asyncio.create_task(http.serve(server.listening))
    opened: Opened | None = None
    rpc: GrpcServer | None = None
    try:
        rpc = await _listen_for_grpc(server, telemetry, keys, http)
        started = await _until_stopped(asyncio.create_task(_load(server)), stop)
        if started is None:
            return
        # Imported late: FastAPI takes part of a second that the probes need not wait for.
        from slipway_runtime.serving.opening import open_routes

        opened = open_routes(config, server.lifecycle, server.metrics, telemetry, started, lambda: http.date_line)
        http.routes = opened.routes
        http.heads.open(opened.shortcuts)
        gate.open(opened.app)
        _tell_ready(server, started)
        if rpc is not None:
            await _open_grpc(rpc, opened)
        await stop.wait(Haste.DRAIN)
        await _drain(server, http, rpc, serving, stop)
    finally:
        if opened is not None:
            opened.dispatcher.abandon(answers.draining)
        http.cut()
        if rpc is not None:
            await rpc.stop(0)
        # Bounded, because an open connection can keep the listener from closing.
        await asyncio.wait({serving}, timeout=_CLOSE_SECONDS)
        if opened is not None:
            await opened.engine.close()
        telemetry.close()


async def _listen_for_grpc(
    server: Server, telemetry: Telemetry, keys: ApiKeys | None, http: HttpServer
) -> GrpcServer | None:
    config = server.config
    if config.grpc_port is None:
        return None
    # Imported only here: not every runtime speaks gRPC.
    from slipway_runtime.rpc.opening import listen

    host = server.listening.getsockname()[0]
    return await listen(
        config,
        host,
        config.grpc_port,
        lifecycle=server.lifecycle,
        telemetry=telemetry,
        keys=keys,
        budget=http.budget,
        counts=server.metrics.grpc_counts,
    )


async def _open_grpc(rpc: GrpcServer, opened: Opened) -> None:
    from slipway_runtime.rpc.opening import backend_of

    rpc.open(backend_of(opened.served, opened.dispatcher, opened.concurrency))


async def _load(server: Server) -> Started:
    try:
        return await start_model(server.config, server.lifecycle, server.metrics)
    except StartupError:
        raise
    except Exception as error:
        log.exception("The start failed inside the runtime")
        message = f"{type(error).__name__}: {error}. The log has the traceback."
        raise StartupError(server.lifecycle.stage, FailureReason.INTERNAL_ERROR, message) from error


async def _until_stopped(loading: asyncio.Task[Started], stop: StopSignals) -> Started | None:
    """None when a stop came first; what was under way ends with the process."""
    stopping = asyncio.ensure_future(stop.wait(Haste.DRAIN))
    await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if loading.done():
        return loading.result()
    loading.cancel()
    return None


def _tell_ready(server: Server, started: Started) -> None:
    # What was made so far stays: looking through all of it for garbage would hold the loop for a tenth of a second.
    gc.collect()
    gc.freeze()
    server.lifecycle.become_ready()
    _watch(started.engine, server.lifecycle)
    host, port = server.listening.getsockname()[:2]
    log.info(
        "Ready: %s serves %s",
        f"http://{host}:{port}",
        server.config.name,
        extra={"inputs": started.facts.signature.describe()},
    )


def _watch(engine: Engine, lifecycle: Lifecycle) -> None:
    """Liveness fails when the engine is lost, so that the kubelet restarts the container."""
    lost = None if engine.alive else engine.failure or "Nothing is left that could run the model."
    if lost is not None and lifecycle.lost is None:
        log.error("%s Liveness fails from now on", lost)
        write_termination_message(StartupError(Stage.SERVE, FailureReason.WORKER_CRASHED, lost))
    lifecycle.lost = lost
    asyncio.get_running_loop().call_later(_WATCH_SECONDS, _watch, engine, lifecycle)


async def _drain(
    server: Server, http: HttpServer, rpc: GrpcServer | None, serving: asyncio.Task[None], stop: StopSignals
) -> None:
    server.lifecycle.drain()
    http.drain()
    if rpc is not None:
        rpc.drain()
    log.info("Draining: accepting for %d s more", server.config.drain_delay_seconds)
    await _until_forgotten(server.config, lambda: http.counts.opened + (rpc.begun_calls if rpc else 0), stop)
    http.finish()
    finished = asyncio.create_task(_finish(serving, rpc, server.config.request_timeout_seconds))
    cut = asyncio.ensure_future(stop.wait(Haste.CUT))
    await asyncio.wait({finished, cut}, return_when=asyncio.FIRST_COMPLETED)
    cut.cancel()
    log.info("Drained")


async def _until_forgotten(config: RuntimeConfig, arrivals: Callable[[], int], stop: StopSignals) -> None:
    """Where a proxy is told late that this pod goes, as one that is just being replaced, it sends connections on. A
    gRPC client goes on calling until its connection has come of age."""
    loop = asyncio.get_running_loop()
    begun, hurried = loop.time(), asyncio.ensure_future(stop.wait(Haste.FINISH))
    quiet = min(_QUIET_SECONDS, config.drain_delay_seconds)
    await asyncio.wait({hurried}, timeout=config.drain_delay_seconds - quiet)
    while not hurried.done():
        before = arrivals()
        await asyncio.wait({hurried}, timeout=quiet)
        if arrivals() == before:
            break
        if loop.time() - begun + quiet > config.drain_limit_seconds:
            log.warning(
                "Requests still come in %d s after the stop was asked for; the next ones are refused",
                config.drain_limit_seconds,
            )
            break
    hurried.cancel()


async def _finish(serving: asyncio.Task[None], rpc: GrpcServer | None, longest_seconds: float) -> None:
    if rpc is not None:
        # No request takes longer, so nothing is cancelled that could still be answered.
        await rpc.stop(longest_seconds + _CLOSE_SECONDS)
    await asyncio.wait({serving})
