"""Writes Kubernetes events, beside the work and never in its way.

An event that says the same of the same object is one object with a count. What one object has too many of, and what
does not fit while too many wait, is dropped and counted.

They are of the core group, although `events.k8s.io` is newer: there `lastTimestamp` must be unset, and by it alone
`kubectl describe` and `kubectl get events --sort-by=.lastTimestamp` put events in order.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from slipway_operator import clock
from slipway_operator.errors import ApiError, ConflictError, NotFoundError
from slipway_operator.kube import KubeApi
from slipway_operator.logs import about
from slipway_operator.metrics import Metrics
from slipway_operator.names import COMPONENT
from slipway_operator.records import ModelRecord
from slipway_operator.render.manifest import stable_hash
from slipway_operator.resources import EVENT, MODEL
from slipway_operator.status import Note

WAITING_LIMIT: Final = 1000
BURST: Final = 20
"""Events of one object that are written at once."""
REFILL_SECONDS: Final = 60.0
"""After these another one may follow. An object that comes and goes all day is told about, not recorded."""
OBJECTS_LIMIT: Final = 10_000
NOTE_LIMIT: Final = 1024
"""Bytes. Source: the API server's validation of events that have an `eventTime`."""

_CUT: Final = "…"
_log = logging.getLogger(f"{COMPONENT}.events")


class Allowance:
    """How many events each object may still have. Those that were quiet longest are forgotten, which costs nothing."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """By uid: how many, and as of when."""

    def take(self, uid: str) -> bool:
        now = self._now()
        left, since = self._left.pop(uid, (float(BURST), now))
        left = min(float(BURST), left + (now - since) / REFILL_SECONDS)
        allowed = left >= 1
        self._left[uid] = (left - 1 if allowed else left, now)
        if len(self._left) > OBJECTS_LIMIT:
            self._left.popitem(last=False)
        return allowed


class EventRecorder:
    """`run` writes what `tell` was told."""

    def __init__(self, api: KubeApi, metrics: Metrics, instance: str) -> None:
        self._api = api
        self._metrics = metrics
        self._instance = instance
        self._waiting: asyncio.Queue[tuple[ModelRecord, Note, datetime]] = asyncio.Queue(WAITING_LIMIT)
        self._allowance = Allowance(clock.monotonic)

    def tell(self, model: ModelRecord, note: Note) -> None:
        if not self._allowance.take(model.uid):
            self._metrics.events_dropped.inc()
            return
        try:
            self._waiting.put_nowait((model, note, clock.utc_now()))
        except asyncio.QueueFull:
            self._metrics.events_dropped.inc()

    async def run(self) -> None:
        while True:
            model, note, moment = await self._waiting.get()
            try:
                await self._write(model, note, moment)
                self._metrics.events_written.labels(note.type).inc()
            except ApiError as error:
                self._metrics.events_dropped.inc()
                _log.warning("an event was not written: %s", error, extra=about(model))
            finally:
                self._waiting.task_done()

    async def flush(self, seconds: float) -> None:
        """Wait until all is written, at most so long."""
        try:
            await asyncio.wait_for(self._waiting.join(), seconds)
        except TimeoutError:
            self._metrics.events_dropped.inc(self._waiting.qsize())

    async def _write(self, model: ModelRecord, note: Note, moment: datetime) -> None:
        body = event_body(model, note, moment, self._instance)
        name = body["metadata"]["name"]
        try:
            await self._api.create(EVENT, model.key.namespace, body)
        except ConflictError:
            await self._count(model.key.namespace, name, moment)
        except NotFoundError:
            # The namespace is gone, and the object with it.
            return

    async def _count(self, namespace: str, name: str, moment: datetime) -> None:
        """The server keeps the count: the first answer says how often it was seen, the second writes one more."""
        seen = await self._api.merge(EVENT, namespace, name, {})
        again = {"count": int(seen.get("count") or 1) + 1, "lastTimestamp": _time(moment)}
        await self._api.merge(EVENT, namespace, name, again)


def event_body(model: ModelRecord, note: Note, moment: datetime, instance: str) -> dict[str, Any]:
    """Equal notes about one object have equal names."""
    text = _cut(note.message)
    digest = stable_hash([model.uid, note.type, note.reason, text])
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {"name": f"{model.key.name}.{digest}", "namespace": model.key.namespace},
        "eventTime": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "firstTimestamp": _time(moment),
        "lastTimestamp": _time(moment),
        "count": 1,
        "type": note.type,
        "reason": note.reason,
        "action": "Reconcile",
        "message": text,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": instance,
        "involvedObject": {
            "apiVersion": MODEL.api_version,
            "kind": MODEL.kind,
            "name": model.key.name,
            "namespace": model.key.namespace,
            "uid": model.uid,
        },
    }


def _cut(message: str) -> str:
    encoded = message.encode()
    if len(encoded) <= NOTE_LIMIT:
        return message
    return encoded[: NOTE_LIMIT - len(_CUT.encode())].decode(errors="ignore") + _CUT


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
