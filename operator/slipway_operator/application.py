"""Puts the parts together and takes them apart in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import platform
import signal
from collections.abc import Coroutine, Mapping
from time import perf_counter
from typing import Any, Final

from slipway_operator import adapters, clock, probes
from slipway_operator.access import load_configuration
from slipway_operator.cache import Cache
from slipway_operator.errors import ApiError, TransientError
from slipway_operator.events import EventRecorder
from slipway_operator.kube import AioKubeApi
from slipway_operator.logs import about
from slipway_operator.metrics import Metrics
from slipway_operator.names import COMPONENT
from slipway_operator.object_metrics import ObjectMetrics
from slipway_operator.plan import Policy
from slipway_operator.reconcile import Reconciler
from slipway_operator.resources import MODEL, Key
from slipway_operator.settings import Settings
from slipway_operator.sweep import Sweep
from slipway_operator.throttle import TokenBucket
from slipway_operator.workqueue import BACK_OFF_LIMIT_SECONDS, WorkQueue

WORKERS: Final = 16
START_RETRY_SECONDS: Final = 2.0
DRAIN_SECONDS: Final = 5.0
FLUSH_SECONDS: Final = 2.0

_log = logging.getLogger(COMPONENT)


class Operator:
    """One process's worth of operator."""

    def __init__(self, settings: Settings, api: AioKubeApi, metrics: Metrics) -> None:
        self.settings = settings
        self.api = api
        self.metrics = metrics
        self.cache = Cache()
        self.queue: WorkQueue[Key] = WorkQueue()
        self._show_queue()
        objects = ObjectMetrics(self.cache.models.values, settings.object_metrics)
        metrics.about_objects = objects.text
        self.recorder = EventRecorder(api, metrics, platform.node())
        policy = Policy(settings.render, settings.allowed_schemes)
        self.reconciler = Reconciler(api, self.cache, policy, self.recorder, metrics.ready_seconds.observe)
        self.sweep = Sweep(api, self.cache, self.queue, metrics, settings.namespaces)
        self.heart = probes.Heart()
        self.stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def _show_queue(self) -> None:
        queue, metrics = self.queue, self.metrics
        queue.waited_seconds = metrics.queue_seconds.observe
        metrics.queue_depth.set_function(lambda: len(queue))
        metrics.queue_oldest.set_function(lambda: queue.oldest_waiting_seconds(clock.monotonic()))
        metrics.passes_running.set_function(lambda: queue.processing)
        metrics.pass_oldest.set_function(lambda: queue.oldest_processing_seconds(clock.monotonic()))

    def take_signals(self) -> None:
        """Until kopf runs, which has its own way."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop.set)

    def health_problem(self) -> str | None:
        ended = next((task.get_name() for task in self._tasks if task.done()), None)
        return f"the task {ended} has ended" if ended is not None else self.heart.problem()

    def ready_problem(self) -> str | None:
        return None if self.sweep.primed else "the first list of the cluster is not complete"

    async def prime(self) -> None:
        """Wait for the CRD, then learn what there is: the first pass must not take the unknown for missing."""
        told = False
        while not self.stop.is_set():
            try:
                if await self.api.served(MODEL):
                    await self.sweep.once()
                    return
                problem = f"the API server does not serve {MODEL.plural}.{MODEL.group} yet; install the CRD"
            except ApiError as error:
                problem = str(error)
            if not told:
                _log.warning("waiting for the cluster: %s", problem)
                told = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), START_RETRY_SECONDS)

    def beat(self) -> None:
        self._start("heart", self.heart.run())

    def work(self) -> None:
        """Once primed, and before kopf: it cancels the tasks that are younger than itself."""
        self._start("events", self.recorder.run())
        self._start("sweep", self.sweep.run(self.settings.sweep_seconds))
        for number in range(WORKERS):
            self._start(f"worker-{number}", self._work())

    async def finish(self) -> None:
        """Let what is under way come to its end."""
        self.queue.close()
        workers = [task for task in self._tasks if task.get_name().startswith("worker-")]
        if workers:
            await asyncio.wait(workers, timeout=DRAIN_SECONDS)
            await self.recorder.flush(FLUSH_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    async def _work(self) -> None:
        while (key := await self.queue.get()) is not None:
            started = perf_counter()
            result = "error"
            try:
                result = await self._pass(key)
            finally:
                self.metrics.reconcile_seconds.labels(result).observe(perf_counter() - started)
                self.queue.done(key)

    async def _pass(self, key: Key) -> str:
        """One pass, and when the next is due. Returns the result's word."""
        try:
            again = await self.reconciler.reconcile(key)
        except TransientError as error:
            self.metrics.reconcile_errors.labels("transient").inc()
            seconds = self.queue.add_after_failure(key, error.retry_after_seconds or 0.0)
            _log.info("tried again in %.1f s: %s", seconds, error, extra=self._about(key))
            return "error"
        except ApiError as error:
            self.metrics.reconcile_errors.labels("refused").inc()
            seconds = self.queue.add_after_failure(key)
            _log.warning("tried again in %.1f s: %s", seconds, error, extra=self._about(key))
            return "error"
        except Exception:  # noqa: BLE001 - the boundary between one object and all others
            self.metrics.reconcile_errors.labels("internal").inc()
            self.queue.add_after(key, BACK_OFF_LIMIT_SECONDS)
            _log.exception("the pass failed", extra=self._about(key))
            return "error"
        self.queue.succeeded(key)
        if again is not None:
            self.queue.add_after(key, again)
        return "success"

    def _about(self, key: Key) -> dict[str, object]:
        return about(self.cache.models.get(key, key))


async def run(settings: Settings, environment: Mapping[str, str]) -> None:
    """Until SIGTERM or SIGINT."""
    metrics = Metrics()
    configuration = await load_configuration(environment)
    api = AioKubeApi(configuration, TokenBucket(settings.writes_per_second, clock=clock.monotonic), metrics)
    operator = Operator(settings, api, metrics)
    operator.take_signals()
    app = probes.application(metrics, health_problem=operator.health_problem, ready_problem=operator.ready_problem)
    runner = await probes.serve(app, settings.http_port)
    scope = ", ".join(settings.namespaces) or "the whole cluster"
    _log.info("started; serving %s through %s", scope, configuration.host)
    try:
        operator.beat()
        await operator.prime()
        if not operator.stop.is_set():
            operator.work()
            _log.info("watching %d ModelDeployments", len(operator.cache.models))
            await adapters.watch(
                configuration=configuration,
                cache=operator.cache,
                queue=operator.queue,
                metrics=metrics,
                namespaces=settings.namespaces,
                on_list=operator.sweep.request,
            )
    finally:
        _log.info("stopping")
        await operator.finish()
        await runner.cleanup()
        await api.close()
