"""The only module that imports kopf: it informs us of changes and does nothing else.

Only `on.event` handlers are registered. They keep no state on the objects: no annotations, no finalizers, and no
permission to write them is needed. Each puts a slim record into the cache and its owner's key into the queue.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from http import HTTPStatus
from time import perf_counter, time
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
import kopf
from kubernetes.aio.client import Configuration

from slipway_operator.access import new_session
from slipway_operator.cache import Cache, owner_key
from slipway_operator.kube import PAGE_SIZE
from slipway_operator.metrics import Metrics
from slipway_operator.names import COMPONENT
from slipway_operator.records import child_record, model_record, pod_record
from slipway_operator.resources import CHILDREN, MODEL, POD, Key, Resource
from slipway_operator.sweep import CHILD_SELECTOR, POD_SELECTOR
from slipway_operator.workqueue import WorkQueue

LOGIN_PAUSE_SECONDS: Final = 1.0
"""Between logins: a server that keeps answering 401 is not to be asked in a tight loop."""

_log = logging.getLogger(f"{COMPONENT}.watches")


async def watch(
    *,
    configuration: Configuration,
    cache: Cache,
    queue: WorkQueue[Key],
    metrics: Metrics,
    namespaces: tuple[str, ...],
    on_list: Callable[[], None],
    started: Callable[[], None],
    stop: asyncio.Event,
) -> None:
    """Until `stop`. `on_list`: a watch is begun anew.

    kopf puts handlers of its own in place for SIGTERM and SIGINT; `started` is called after that. At its end it
    cancels every task that was started after it; those started before live on.
    """
    registry = kopf.OperatorRegistry()
    _register_login(registry, configuration, _trace(metrics, on_list))
    _register_models(registry, cache, queue, metrics)
    _register_pods(registry, cache, queue, metrics)
    for resource in CHILDREN:
        _register_children(registry, cache, queue, metrics, resource)
    older = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        registry=registry,
        settings=_settings(bool(namespaces)),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
        stop_flag=stop,
    )
    started()
    await kopf.run_tasks(tasks, ignored=older)


def _settings(namespaced: bool) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.posting.loggers = False
    settings.peering.standalone = True
    # Follows the CRD itself; a Role does not allow that.
    settings.scanning.disabled = namespaced
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.watching.reconnect_backoff = 1
    settings.watching.inactivity_timeout = 70
    # What a page holds, and what waits in kopf's streams, is in memory for each of the kinds at once.
    settings.watching.chunk_size = PAGE_SIZE
    for resource in (*CHILDREN, POD):
        selector = (
            (resource.group, resource.version, resource.plural)
            if resource.group
            else (resource.version, resource.plural)
        )
        settings.watching.label_selectors[selector] = POD_SELECTOR if resource is POD else CHILD_SELECTOR
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = (0.5, 1, 2, 3, 5)
    settings.queueing.idle_timeout = 0.05
    settings.queueing.exit_timeout = 1
    settings.persistence.diffbase_storage = _NoDifferences()
    settings.persistence.progress_storage = _NoProgress()
    settings.execution.max_workers = 1
    settings.process.ultimate_exiting_timeout = 20
    return settings


class _NoDifferences(kopf.DiffBaseStorage):
    """For kopf's handlers of changes, of which there are none; else it would copy every object twice to compare it."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        raise NotImplementedError("nothing is kept on the objects")


class _NoProgress(kopf.ProgressStorage):
    """The same for the progress of such handlers."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        raise NotImplementedError("nothing is kept on the objects")

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


def _register_login(registry: kopf.OperatorRegistry, configuration: Configuration, trace: aiohttp.TraceConfig) -> None:
    logins = 0

    @kopf.on.login(registry=registry, errors=kopf.ErrorsMode.TEMPORARY, backoff=LOGIN_PAUSE_SECONDS)
    async def login(**_: Any) -> kopf.AiohttpSession:
        nonlocal logins
        if logins:
            await asyncio.sleep(LOGIN_PAUSE_SECONDS)
        logins += 1
        return kopf.AiohttpSession(server=configuration.host, aiohttp_session=new_session(configuration, [trace]))


def _trace(metrics: Metrics, on_list: Callable[[], None]) -> aiohttp.TraceConfig:
    """Counts kopf's requests and notes when each watch was opened last; kopf has no metrics of its own."""
    trace = aiohttp.TraceConfig()
    listed: set[str] = set()

    async def started(_: object, context: SimpleNamespace, params: aiohttp.TraceRequestStartParams) -> None:
        context.started = perf_counter()
        if params.url.query.get("watch"):
            metrics.watch_opened.labels(_plural(params.url.path)).set(time())

    async def ended(_: object, context: SimpleNamespace, params: aiohttp.TraceRequestEndParams) -> None:
        verb = "WATCH" if params.url.query.get("watch") else params.method
        plural = _plural(params.url.path)
        metrics.api_requests.labels(verb, plural, str(params.response.status)).inc()
        metrics.api_seconds.labels(verb, plural).observe(perf_counter() - context.started)
        if params.response.status == HTTPStatus.TOO_MANY_REQUESTS:
            _log.warning(
                "the API server has too much to do for a %s of %s (429); it is asked again later", verb, plural
            )
        if verb == "GET" and plural in _KNOWN and params.response.status == HTTPStatus.OK:
            if params.url.path in listed and "continue" not in params.url.query:
                _log.info("%s are listed anew: their watch could not go on from where it was", plural)
            listed.add(params.url.path)
            on_list()

    async def failed(_: object, context: SimpleNamespace, params: aiohttp.TraceRequestExceptionParams) -> None:
        metrics.api_requests.labels(params.method, _plural(params.url.path), "0").inc()

    trace.on_request_start.append(started)
    trace.on_request_end.append(ended)
    trace.on_request_exception.append(failed)
    return trace


_KNOWN: Final = frozenset(resource.plural for resource in (*CHILDREN, POD, MODEL))


def _plural(path: str) -> str:
    """A bounded set of words, whatever is asked."""
    last = path.rpartition("/")[2]
    return last if last in _KNOWN else "other"


def _count(metrics: Metrics, resource: Resource, event: Any) -> None:
    metrics.watch_events.labels(resource.plural, event["type"] or "LISTED").inc()


def _register_models(registry: kopf.OperatorRegistry, cache: Cache, queue: WorkQueue[Key], metrics: Metrics) -> None:
    @kopf.on.event(MODEL.group, MODEL.version, MODEL.plural, registry=registry)
    async def model_changed(event: Any, **_: Any) -> None:
        _count(metrics, MODEL, event)
        record = model_record(event["object"])
        if event["type"] == "DELETED":
            cache.remove_model(record.key, record.uid, record.resource_version)
            queue.forget(record.key)
            return
        known = cache.models.get(record.key)
        if cache.put_model(record):
            if known is not None and known.generation != record.generation:
                # A new spec is a new question: it is not answered for earlier failures.
                queue.succeeded(record.key)
            queue.add(record.key)


def _register_children(
    registry: kopf.OperatorRegistry, cache: Cache, queue: WorkQueue[Key], metrics: Metrics, resource: Resource
) -> None:
    @kopf.on.event(resource.group, resource.version, resource.plural, registry=registry, id=resource.plural)
    async def child_changed(event: Any, **_: Any) -> None:
        _count(metrics, resource, event)
        record = child_record(resource.kind, event["object"])
        owner = owner_key(event["object"])
        if owner is None:
            return
        changed = (
            cache.remove_child(owner, record.ref, record.uid, record.resource_version)
            if event["type"] == "DELETED"
            else cache.put_child(owner, record)
        )
        if changed:
            queue.add(owner)


def _register_pods(registry: kopf.OperatorRegistry, cache: Cache, queue: WorkQueue[Key], metrics: Metrics) -> None:
    @kopf.on.event(POD.version, POD.plural, registry=registry)
    async def pod_changed(event: Any, **_: Any) -> None:
        _count(metrics, POD, event)
        record = pod_record(event["object"])
        if record is None:
            return
        changed = (
            cache.remove_pod(record.key, record.name, record.uid, record.resource_version)
            if event["type"] == "DELETED"
            else cache.put_pod(record)
        )
        if changed:
            queue.add(record.key)
