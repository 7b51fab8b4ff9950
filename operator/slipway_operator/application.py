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

from slipway_operator import adapters, asking, clock, probes
from slipway_operator.access import load_configuration
from slipway_operator.cache import Cache
from slipway_operator.election import Elector
from slipway_operator.errors import ApiError, FencedError, LeaseLostError, TransientError
from slipway_operator.events import EventRecorder
from slipway_operator.gateways import GatewayApi
from slipway_operator.inquiries import Inquirer
from slipway_operator.kube import AioKubeApi
from slipway_operator.lease import Lease, Standing
from slipway_operator.logs import about
from slipway_operator.metrics import Metrics
from slipway_operator.names import COMPONENT
from slipway_operator.object_metrics import ObjectMetrics
from slipway_operator.plan import Policy
from slipway_operator.reconcile import Reconciler
from slipway_operator.resources import MODEL, Key
from slipway_operator.route_inquiries import RouteInquirer
from slipway_operator.route_watch import RouteWatch
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

    def __init__(self, settings: Settings, api: AioKubeApi, lease: Lease, metrics: Metrics) -> None:
        self.settings = settings
        self.api = api
        self.metrics = metrics
        self.elector = Elector(lease, settings.lease.key, api, metrics, resumed=self._resumed)
        self.cache = Cache()
        self.queue: WorkQueue[Key] = WorkQueue()
        self._show_queue()
        objects = ObjectMetrics(self.cache.models.values, settings.object_metrics)
        metrics.about_objects = objects.text
        self.recorder = EventRecorder(api, metrics, platform.node())
        self.gateways = GatewayApi(api, self.queue.add)
        policy = Policy(
            settings.render,
            settings.allowed_schemes,
            asks=settings.verify_predictions,
            asks_routes=settings.verify_routes,
        )
        self.inquirer = Inquirer(self.cache, metrics, self.queue.add)
        self.route_inquirer = RouteInquirer(self.cache, self.queue.add)
        self.reconciler = Reconciler(
            api,
            self.cache,
            policy,
            self.recorder,
            self.gateways,
            metrics.ready_seconds.observe,
            self.inquirer.want,
            self.route_inquirer.want,
            lambda repair: metrics.repairs.labels(repair.ref.kind, repair.cause).inc(),
        )
        self.sweep = Sweep(api, self.cache, self.queue, metrics, settings.namespaces, self.gateways)
        self.heart = probes.Heart()
        self.stop = asyncio.Event()
        """Asked to end, or the Lease is lost."""
        self.finished = asyncio.Event()
        """Nothing is written any more and the Lease is released."""
        self.watching = False
        self._ending: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def _show_queue(self) -> None:
        queue, metrics = self.queue, self.metrics
        queue.waited_seconds = metrics.queue_seconds.observe
        metrics.namespaces_closed.set_function(lambda: len(self.cache.closed))
        metrics.queue_depth.set_function(lambda: len(queue))
        metrics.queue_oldest.set_function(lambda: queue.oldest_waiting_seconds(clock.monotonic()))
        metrics.passes_running.set_function(lambda: queue.processing)
        metrics.pass_oldest.set_function(lambda: queue.oldest_processing_seconds(clock.monotonic()))

    def take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop.set)

    @property
    def lost(self) -> bool:
        return self.elector.lease.standing is Standing.LOST

    def health_problem(self) -> str | None:
        if self.stop.is_set():
            return None
        ended = next((task.get_name() for task in self._tasks if task.done()), None)
        return f"the task {ended} has ended" if ended is not None else self.heart.problem()

    def ready_problem(self) -> str | None:
        return None if self.elector.seen else f"the Lease {self.elector.key}: {self.elector.problem}"

    def standing(self) -> str:
        leads = self.elector.lease.standing is Standing.LEADING
        return "standby" if not leads else "leading" if self.watching else "taking over"

    def start(self) -> None:
        """What runs from the first moment, and so is older than kopf, which cancels the tasks younger than itself."""
        self._start("heart", self.heart.run())
        self._start("lease", self._hold_lease())
        self._ending = asyncio.create_task(self._finish_when_asked(), name="ending")

    async def wait_until_leading(self) -> None:
        """Or until asked to end."""
        asked = [asyncio.create_task(event.wait()) for event in (self.elector.leading, self.stop)]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        for task in asked:
            task.cancel()

    async def _hold_lease(self) -> None:
        await self.elector.run()
        self.stop.set()
        await asyncio.Event().wait()

    async def _finish_when_asked(self) -> None:
        await self.stop.wait()
        await self.finish()

    async def end(self) -> None:
        """Returns when all is handed over, whoever began it."""
        self.stop.set()
        if self._ending is not None:
            await self._ending

    def _resumed(self) -> None:
        """What failed while writes were held back waits for a time that has nothing to do with it."""
        self.sweep.request()

    async def prime(self) -> None:
        """Wait for the CRD, then learn what there is: the first pass must not take the unknown for missing."""
        told = False
        while not self.stop.is_set():
            try:
                if await self.api.served(MODEL):
                    await self.gateways.look()
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

    def work(self) -> None:
        """Once primed, and before kopf: it cancels the tasks that are younger than itself."""
        self.watching = True
        lease = self.elector.lease
        if lease.former_seen_at is not None:
            self.metrics.takeover_seconds.set(clock.boottime() - lease.former_seen_at)
        self._start("events", self.recorder.run())
        self._start("sweep", self.sweep.run(self.settings.sweep_seconds))
        self._start("gateways", self.gateways.run(self.sweep.request))
        routes = RouteWatch(self.api, self.cache, self.queue, self.metrics, self.gateways)
        for namespace in self.settings.namespaces or (None,):
            self._start(f"routes-{namespace or 'all'}", routes.run(namespace))
        for number in range(asking.WORKERS):
            self._start(f"inquirer-{number}", self.inquirer.work())
            self._start(f"route-inquirer-{number}", self.route_inquirer.work())
        for number in range(WORKERS):
            self._start(f"worker-{number}", self._work())

    async def finish(self) -> None:
        """Let what is under way come to its end, unless the Lease is lost; then hand it over."""
        if self.finished.is_set():
            return
        _log.info("stopping")
        self.queue.close()
        workers = [task for task in self._tasks if task.get_name().startswith("worker-")]
        if workers and not self.lost:
            await asyncio.wait(workers, timeout=DRAIN_SECONDS)
            await self.recorder.flush(FLUSH_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.inquirer.close()
        await self.route_inquirer.close()
        await self.elector.release()
        self.finished.set()

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
        except FencedError:
            # Not this object's fault: it is tried again when the Lease may have been renewed.
            self.queue.add_after(key, self.settings.lease.times.retry_seconds)
            _log.info("held back: the Lease was not renewed in time", extra=self._about(key))
            return "fenced"
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
        except Exception as error:  # noqa: BLE001 - the boundary between one object and all others
            self.metrics.reconcile_errors.labels("internal").inc()
            self.queue.add_after(key, BACK_OFF_LIMIT_SECONDS)
            _log.exception("the pass failed", extra=self._about(key))
            with contextlib.suppress(ApiError):
                await self.reconciler.tell_fault(key, error)
            return "error"
        self.queue.succeeded(key)
        if again is not None:
            self.queue.add_after(key, again)
        return "success"

    def _about(self, key: Key) -> dict[str, object]:
        return about(self.cache.models.get(key, key))


async def run(settings: Settings, environment: Mapping[str, str]) -> None:
    """Until SIGTERM or SIGINT. Raises `LeaseLostError` when another operator has taken over."""
    metrics = Metrics()
    configuration = await load_configuration(environment)
    lease = Lease(settings.lease.identity, settings.lease.times)
    bucket = TokenBucket(settings.writes_per_second, clock=clock.monotonic)
    api = AioKubeApi(configuration, bucket, metrics, fence=lambda: lease.seconds_for_a_write(clock.boottime()))
    operator = Operator(settings, api, lease, metrics)
    operator.take_signals()
    app = probes.application(
        metrics,
        health_problem=operator.health_problem,
        ready_problem=operator.ready_problem,
        standing=operator.standing,
    )
    runner = await probes.serve(app, settings.http_port)
    scope = ", ".join(settings.namespaces) or "the whole cluster"
    _log.info("started as %s; serving %s through %s", settings.lease.identity, scope, configuration.host)
    try:
        operator.start()
        await operator.wait_until_leading()
        await operator.prime()
        if not operator.stop.is_set():
            operator.work()
            await adapters.watch(
                configuration=configuration,
                cache=operator.cache,
                queue=operator.queue,
                metrics=metrics,
                namespaces=settings.namespaces,
                on_list=operator.sweep.request,
                started=operator.take_signals,
                stop=operator.finished,
            )
    finally:
        await operator.end()
        await runner.cleanup()
        await api.close()
    if operator.lost:
        raise LeaseLostError
