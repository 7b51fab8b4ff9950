"""One pass over one ModelDeployment: look, plan, apply, write the status, tell events.

It reads the cache and never an event, so it does not matter why it was called. Called twice, it writes once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from slipway_operator import clock
from slipway_operator.cache import Cache, Memory, Refusal
from slipway_operator.drift import differences
from slipway_operator.errors import ConflictError, NotFoundError, RefusedError, TransientError
from slipway_operator.events import EventRecorder
from slipway_operator.gateways import GatewayApi
from slipway_operator.kube import KubeApi
from slipway_operator.listeners import GatewaySight
from slipway_operator.logs import about
from slipway_operator.names import COMPONENT, MANIFEST_HASH_ANNOTATION
from slipway_operator.object_metrics import seconds_to_ready
from slipway_operator.plan import Apply, Observed, Plan, Policy, needless_children, plan, wanted_children
from slipway_operator.pod_causes import is_started_and_unready
from slipway_operator.records import ChildRecord, ModelRecord, child_record
from slipway_operator.resources import HTTP_ROUTE, ChildRef, Key
from slipway_operator.route_verification import RouteQuestion
from slipway_operator.verification import Inquiry, Question

REFUSED_RETRY_BASE_SECONDS: Final = 2.0
REFUSED_RETRY_LIMIT_SECONDS: Final = 60.0
"""A quota that is raised or a policy that is mended is told to nobody."""

_log = logging.getLogger(f"{COMPONENT}.reconcile")


@dataclass(frozen=True)
class Reconciler:
    """The imperative shell around `plan`."""

    api: KubeApi
    cache: Cache
    policy: Policy
    recorder: EventRecorder
    gateways: GatewayApi
    ready_after: Callable[[float], None] = lambda seconds: None
    """Told how long it took, whenever one becomes Ready."""
    inquire: Callable[[Key, Inquiry | None], None] = lambda key, inquiry: None
    """Told what is to be asked over the network, in place of what was before."""
    inquire_route: Callable[[Key, RouteQuestion | None], None] = lambda key, question: None
    """The same for the way in from outside."""

    async def reconcile(self, key: Key) -> float | None:
        """Returns the seconds until time alone may change something; None where events suffice."""
        model = self.cache.models.get(key)
        if model is None or model.deleting:
            self.inquire(key, None)
            self.inquire_route(key, None)
            return None
        memory = self.cache.memory(model)
        sight = await self.gateways.sight(model)
        strangers = await self._strangers(model, memory, sight)
        wanted = plan(self._observed(model, memory, strangers, sight), self.policy)
        if wanted.applies or wanted.deletes:
            await self._act(model, memory, wanted)
            wanted = plan(self._observed(model, memory, strangers, sight), self.policy)
        await self._write_status(model, memory, wanted)
        if "verification" not in wanted.status and not isinstance(wanted.inquiry, Question):
            # Nothing serves: what was answered before says nothing about the pods that will.
            memory.verdict = None
        self.inquire(key, wanted.inquiry)
        self.inquire_route(key, wanted.route_question)
        return wanted.requeue_after

    def _observed(
        self, model: ModelRecord, memory: Memory, strangers: dict[ChildRef, ChildRecord], sight: GatewaySight
    ) -> Observed:
        now, pods = clock.utc_now(), self.cache.pods(model.key)
        memory.started_seen = {
            pod.uid: memory.started_seen.get(pod.uid, now) for pod in pods if is_started_and_unready(pod)
        }
        return Observed(
            model=model,
            children=strangers | self.cache.children(model.key),
            pods=pods,
            memory=memory,
            now=now,
            monotonic=clock.monotonic(),
            gateway_api=sight,
        )

    async def _strangers(self, model: ModelRecord, memory: Memory, sight: GatewaySight) -> dict[ChildRef, ChildRecord]:
        """Objects that have a child's name and lack our labels, so that no watch shows them."""
        known = self.cache.children(model.key)
        wanted = wanted_children(model, known, self.policy)
        found = {}
        for ref in [*wanted, *needless_children(model, wanted, memory.status or {})]:
            if ref in known or (ref.kind == HTTP_ROUTE.kind and not sight.served):
                continue
            body = await self.api.get(ref.resource, model.key.namespace, ref.name)
            if body is not None:
                found[ref] = child_record(ref.kind, body)
        return found

    async def _act(self, model: ModelRecord, memory: Memory, wanted: Plan) -> None:
        extra = about(model)
        for item in wanted.applies:
            try:
                await self._apply(model, memory, item)
            except RefusedError as error:
                self._refuse(memory, item, error)
                _log.warning("the API server refused %s: %s", item.ref, error.message, extra=extra)
                break
        for gone in wanted.deletes:
            _log.info("deleting %s, which is no longer wanted", gone.ref, extra=extra)
            await self.api.delete(gone.ref, model.key.namespace, gone.uid)

    async def _apply(self, model: ModelRecord, memory: Memory, item: Apply) -> None:
        extra = about(model)
        _log.info("applying %s", item.ref, extra=extra)
        try:
            body = await self.api.apply(item.ref, item.manifest, item.uid)
        except (ConflictError, NotFoundError) as error:
            # Not what the cache says: the next pass looks at the server itself.
            self.cache.forget_child(model.key, item.ref)
            raise TransientError(error.status, error.message) from error
        record = child_record(item.ref.kind, body)
        self.cache.put_child(model.key, record)
        memory.refusals.pop(item.ref, None)
        memory.rewritten[item.ref] = differences(item.manifest, record.body)

    def _refuse(self, memory: Memory, item: Apply, error: RefusedError) -> None:
        manifest_hash: str = item.manifest["metadata"]["annotations"][MANIFEST_HASH_ANNOTATION]
        before = memory.refusals.get(item.ref)
        attempts = before.attempts + 1 if before is not None and before.manifest_hash == manifest_hash else 1
        wait = min(REFUSED_RETRY_BASE_SECONDS * 2 ** min(attempts - 1, 20), REFUSED_RETRY_LIMIT_SECONDS)
        memory.refusals[item.ref] = Refusal(manifest_hash, error.message, attempts, clock.monotonic() + wait)

    async def _write_status(self, model: ModelRecord, memory: Memory, wanted: Plan) -> None:
        if wanted.status == memory.status:
            return
        try:
            written = await self.api.apply_status(model.key, wanted.status)
        except NotFoundError:
            # Deleted since the cache heard of it.
            return
        if (seconds := seconds_to_ready(memory.status or {}, wanted.status)) is not None:
            self.ready_after(seconds)
        memory.status = wanted.status
        memory.status_version = int(written["metadata"]["resourceVersion"])
        for note in wanted.notes:
            self.recorder.tell(model, note)
