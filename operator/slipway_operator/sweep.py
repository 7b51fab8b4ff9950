"""Lists everything from time to time: what no event told, or told wrongly, is put right by it."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from typing import Any, Final

from slipway_operator import clock, memory
from slipway_operator.cache import Cache, owner_key
from slipway_operator.errors import ApiError
from slipway_operator.gateways import GatewayApi
from slipway_operator.kube import KubeApi
from slipway_operator.metrics import Metrics
from slipway_operator.names import COMPONENT, MANAGED_BY_LABEL, MODEL_LABEL
from slipway_operator.records import child_record, model_record, pod_record
from slipway_operator.resources import CHILDREN, HTTP_ROUTE, MODEL, POD, Key, Resource
from slipway_operator.workqueue import WorkQueue

GATHER_SECONDS: Final = 1.0
"""After a reconnect every kind is listed anew; one sweep answers for all."""
RETRY_SECONDS: Final = 5.0
REOPEN_SECONDS: Final = 10.0
"""Between two looks at a namespace that may not be read."""

CHILD_SELECTOR: Final = f"{MANAGED_BY_LABEL}={COMPONENT}"
POD_SELECTOR: Final = MODEL_LABEL
"""Every pod that a Service of ours may select, by whomever it was made."""

_FORBIDDEN: Final = 403

_log = logging.getLogger(f"{COMPONENT}.sweep")


class Sweep:
    """`namespaces` empty: the whole cluster."""

    def __init__(
        self,
        api: KubeApi,
        cache: Cache,
        queue: WorkQueue[Key],
        metrics: Metrics,
        namespaces: tuple[str, ...],
        gateways: GatewayApi,
    ) -> None:
        self._api = api
        self._gateways = gateways
        self._cache = cache
        self._queue = queue
        self._metrics = metrics
        self._namespaces = namespaces
        self._requested = asyncio.Event()
        self.primed = False
        """One sweep is complete, so what the cache lacks does not exist."""

    def request(self) -> None:
        """Soon, not only when its time has come: a watch lost its place and was begun anew.

        kopf tells us what it finds then, but not what was deleted in between.
        """
        self._requested.set()

    async def run(self, seconds: float) -> None:
        wait = seconds
        while True:
            if self._cache.closed and wait > REOPEN_SECONDS and not await self._is_requested_within(REOPEN_SECONDS):
                await self._reopen()
                wait -= REOPEN_SECONDS
                continue
            await self._is_requested_within(wait)
            await asyncio.sleep(GATHER_SECONDS)
            self._requested.clear()
            try:
                await self.once()
                wait = seconds
            except ApiError as error:
                self._metrics.sweep_failures.inc()
                wait = min(seconds, RETRY_SECONDS)
                _log.warning("the sweep failed and is tried again in %.0f s: %s", wait, error)

    async def _is_requested_within(self, seconds: float) -> bool:
        """Not `wait_for`, which starts a task: at its end kopf waits for every task younger than itself."""
        until = clock.monotonic() + seconds
        timer = asyncio.get_running_loop().call_later(seconds, self._requested.set)
        await self._requested.wait()
        timer.cancel()
        if clock.monotonic() < until:
            return True
        self._requested.clear()
        return False

    async def _reopen(self) -> None:
        for namespace in list(self._cache.closed):
            try:
                await self._namespace(namespace)
            except ApiError as error:
                _log.debug("the namespace %s may still not be read: %s", namespace, error)

    async def once(self) -> None:
        """Children before their owners: a ModelDeployment is never judged without what it has."""
        started = clock.monotonic()
        if not self._gateways.served:
            # With the CRD went all of them.
            self._cache.retain_children(HTTP_ROUTE.kind, set(), sys.maxsize, None)
        closed: ApiError | None = None
        for namespace in self._namespaces or (None,):
            try:
                await self._namespace(namespace)
            except ApiError as error:
                if namespace is None or error.status != _FORBIDDEN:
                    raise
                # One namespace that is gone, or not made yet, takes nothing from the others.
                closed = error
                self._close(namespace, error)
        if closed is not None and len(self._cache.closed) == len(self._namespaces):
            raise closed
        self.primed = True
        memory.give_back()
        self._metrics.sweep_seconds.observe(clock.monotonic() - started)
        self._metrics.sweep_completed.set(clock.utc_now().timestamp())

    async def _namespace(self, namespace: str | None) -> None:
        for resource in (*CHILDREN, POD, *((HTTP_ROUTE,) if self._gateways.served else ())):
            await self._children(resource, namespace)
        if namespace in self._cache.closed:
            self._cache.closed.discard(namespace)
            _log.info("the namespace %s may be read now and is served", namespace)
        await self._models(namespace)

    def _close(self, namespace: str, error: ApiError) -> None:
        if namespace not in self._cache.closed:
            self._cache.closed.add(namespace)
            _log.warning(
                "the namespace %s may not be read; it is served once it is there and the operator has its rights: %s",
                namespace,
                error.message,
            )

    async def _children(self, resource: Resource, namespace: str | None) -> None:
        uids: set[str] = set()
        version = 0
        selector = POD_SELECTOR if resource is POD else CHILD_SELECTOR
        async for items, page_version in self._pages(resource, namespace, selector):
            version = page_version
            for body in items:
                uids.add(body["metadata"]["uid"])
                self._put(resource, body)
        gone = (
            self._cache.retain_pods(uids, version, namespace)
            if resource is POD
            else self._cache.retain_children(resource.kind, uids, version, namespace)
        )
        for key in gone:
            self._repaired(resource)
            self._queue.add(key)

    def _repaired(self, resource: Resource) -> None:
        if self.primed:
            self._metrics.sweep_repairs.labels(resource.plural).inc()

    def _put(self, resource: Resource, body: dict[str, Any]) -> None:
        if resource is POD:
            pod = pod_record(body)
            if pod is not None and self._cache.put_pod(pod):
                self._repaired(resource)
                self._queue.add(pod.key)
            return
        owner = owner_key(body)
        if owner is not None and self._cache.put_child(owner, child_record(resource.kind, body)):
            self._repaired(resource)
            self._queue.add(owner)

    async def _models(self, namespace: str | None) -> None:
        uids: set[str] = set()
        version = 0
        async for items, page_version in self._pages(MODEL, namespace, ""):
            version = page_version
            for body in items:
                record = model_record(body)
                uids.add(record.uid)
                if self._cache.put_model(record):
                    self._repaired(MODEL)
                self._cache.check_status(record)
                self._queue.add(record.key)
        for key in self._cache.retain_models(uids, version, namespace):
            self._repaired(MODEL)
            self._queue.forget(key)

    async def _pages(
        self, resource: Resource, namespace: str | None, selector: str
    ) -> AsyncIterator[tuple[list[dict[str, Any]], int]]:
        async for items, version in self._api.pages(resource, namespace, selector):
            yield items, version
            # Thousands of records are no reason to answer a probe late.
            await asyncio.sleep(0)
