"""Watches HTTPRoutes while the cluster has them.

Not kopf's task: a kind that it watches must not go away, or the whole of it ends, and one that comes later it finds
only where it may watch CRDs.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from slipway_operator.cache import Cache, owner_key
from slipway_operator.errors import ApiError
from slipway_operator.gateways import GatewayApi
from slipway_operator.kube import KubeApi
from slipway_operator.metrics import Metrics
from slipway_operator.names import COMPONENT
from slipway_operator.records import child_record
from slipway_operator.resources import HTTP_ROUTE, Key
from slipway_operator.sweep import CHILD_SELECTOR
from slipway_operator.workqueue import WorkQueue

WATCH_SECONDS: Final = 60
"""Short, so that a connection that died in silence is found out; each goes on where the last one ended."""
PAUSE_SECONDS: Final = 1.0
"""Before a list anew: a server that keeps refusing is not to be asked in a tight loop."""

_log = logging.getLogger(f"{COMPONENT}.route_watch")


class RouteWatch:
    """Fills the cache and wakes the owners, as the handlers of the other kinds do."""

    def __init__(
        self, api: KubeApi, cache: Cache, queue: WorkQueue[Key], metrics: Metrics, gateways: GatewayApi
    ) -> None:
        self._api = api
        self._cache = cache
        self._queue = queue
        self._metrics = metrics
        self._gateways = gateways

    async def run(self, namespace: str | None) -> None:
        """One namespace, or all."""
        while True:
            await self._gateways.there.wait()
            try:
                await self._follow(namespace)
            except ApiError as error:
                _log.info("HTTPRoutes are listed anew: %s", error)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _follow(self, namespace: str | None) -> None:
        """Until the watch loses its place."""
        version = await self._list(namespace)
        while True:
            watched = self._api.watch(HTTP_ROUTE, namespace, CHILD_SELECTOR, version, WATCH_SECONDS)
            async for event in watched:
                if event["type"] == "ERROR":
                    return
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    self._take(event["type"], event["object"])

    async def _list(self, namespace: str | None) -> str:
        uids: set[str] = set()
        version = 0
        async for items, page_version in self._api.pages(HTTP_ROUTE, namespace, CHILD_SELECTOR):
            version = page_version
            for body in items:
                uids.add(body["metadata"]["uid"])
                self._take("LISTED", body)
        for key in self._cache.retain_children(HTTP_ROUTE.kind, uids, version, namespace):
            self._queue.add(key)
        return str(version)

    def _take(self, kind: str, body: dict[str, Any]) -> None:
        self._metrics.watch_events.labels(HTTP_ROUTE.plural, kind).inc()
        record, owner = child_record(HTTP_ROUTE.kind, body), owner_key(body)
        if owner is None:
            return
        changed = (
            self._cache.remove_child(owner, record.ref, record.uid, record.resource_version)
            if kind == "DELETED"
            else self._cache.put_child(owner, record)
        )
        if changed:
            self._queue.add(owner)
