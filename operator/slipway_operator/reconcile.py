"""One pass over one ModelDeployment: look, plan, apply, write the status, tell events.

It reads the cache and never an event, so it does not matter why it was called. Called twice, it writes once.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from slipway_operator import clock
from slipway_operator.acceptance import is_told
from slipway_operator.cache import Cache, Memory, Obstacle, Refusal
from slipway_operator.drift import differences
from slipway_operator.errors import (
    ApiError,
    ConflictError,
    FencedError,
    NotFoundError,
    ObstructedError,
    RefusedError,
    TransientError,
)
from slipway_operator.events import EventRecorder
from slipway_operator.faults import fault
from slipway_operator.gateways import GatewayApi
from slipway_operator.kube import KubeApi
from slipway_operator.listeners import GatewaySight
from slipway_operator.logs import about
from slipway_operator.names import COMPONENT, MANIFEST_HASH_ANNOTATION
from slipway_operator.object_metrics import seconds_to_ready
from slipway_operator.plan import Apply, Observed, Plan, Policy, needless_children, plan, wanted_children
from slipway_operator.pod_causes import is_started_and_unready
from slipway_operator.records import ChildRecord, ModelRecord, child_record
from slipway_operator.repairs import FIGHT, REPAIRED, Repair, count, repair_of, words
from slipway_operator.resources import HTTP_ROUTE, ChildRef, Key
from slipway_operator.route_verification import RouteQuestion
from slipway_operator.status import Note, Status
from slipway_operator.verification import Inquiry, Question

REFUSED_RETRY_BASE_SECONDS: Final = 2.0
REFUSED_RETRY_LIMIT_SECONDS: Final = 60.0
"""A quota that is raised or a policy that is mended is told to nobody."""

_NUMBERS: Final = re.compile(r"\d+")
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
    repaired: Callable[[Repair], None] = lambda repair: None
    """Told of each child that is put back."""

    async def reconcile(self, key: Key) -> float | None:
        """Returns the seconds until time alone may change something; None where events suffice."""
        model = self.cache.models.get(key)
        if model is None or model.deleting or key.namespace in self.cache.closed:
            self.inquire(key, None)
            self.inquire_route(key, None)
            return None
        memory = self.cache.memory(model)
        sight = await self.gateways.sight(model)
        strangers: dict[ChildRef, ChildRecord] = {}
        obstructed: ApiError | None = None
        try:
            strangers = await self._strangers(model, memory, sight)
            wanted = plan(self._observed(model, memory, strangers, sight), self.policy)
            acted = bool(wanted.applies or wanted.deletes)
            await self._act(model, memory, wanted)
            again = acted or memory.obstacle is not None
            memory.obstacle = None
        except ObstructedError as error:
            obstructed = error.answer
            memory.obstacle = _obstacle(memory.obstacle, error)
            if not _is_worth_a_word(memory, model, obstructed):
                raise obstructed from error
            again = True
        if again:
            wanted = plan(self._observed(model, memory, strangers, sight), self.policy)
        await self._write_status(model, memory, wanted.status, wanted.notes)
        if "verification" not in wanted.status and not isinstance(wanted.inquiry, Question):
            # Nothing serves: what was answered before says nothing about the pods that will.
            memory.verdict = None
        self.inquire(key, wanted.inquiry)
        self.inquire_route(key, wanted.route_question)
        if obstructed is not None:
            # It is told by now; the queue says when to try again.
            raise obstructed
        return wanted.requeue_after

    async def tell_fault(self, key: Key, error: Exception) -> None:
        """This object's pass met a fault of ours: say so where its users look."""
        model = self.cache.models.get(key)
        if model is None or model.deleting:
            return
        memory = self.cache.memory(model)
        now = clock.utc_now().strftime("%Y-%m-%dT%H:%M:%SZ")
        found = fault(model, memory.status or {}, type(error).__name__, now)
        await self._write_status(model, memory, found.status, found.notes)

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
            with _doing("look at", ref):
                body = await self.api.get(ref.resource, model.key.namespace, ref.name)
            if body is not None:
                found[ref] = child_record(ref.kind, body)
        return found

    async def _act(self, model: ModelRecord, memory: Memory, wanted: Plan) -> None:
        extra = about(model)
        for item in wanted.applies:
            try:
                with _doing("apply", item.ref):
                    await self._apply(model, memory, item)
            except RefusedError as error:
                self._refuse(memory, item, error)
                _log.warning("the API server refused %s: %s", item.ref, error.message, extra=extra)
                break
        for gone in wanted.deletes:
            _log.info("deleting %s, which is no longer wanted", gone.ref, extra=extra)
            with _doing("delete", gone.ref, refusals=True):
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
        memory.gone -= {item.ref}
        memory.rewritten[item.ref] = differences(item.manifest, record.body)
        repair = repair_of(item.ref, item.damage, memory.rewritten[item.ref]) if item.damage is not None else None
        if repair is not None:
            self._tell_repair(model, memory, repair)

    def _tell_repair(self, model: ModelRecord, memory: Memory, repair: Repair) -> None:
        self.repaired(repair)
        repeats, told = count(memory.repairs.get(repair.ref), clock.monotonic())
        memory.repairs[repair.ref] = repeats
        fought_over = told and repeats.count >= FIGHT
        _log.log(logging.WARNING if fought_over else logging.INFO, "put back %s", repair, extra=about(model))
        if told:
            self.recorder.tell(model, Note("Warning" if fought_over else "Normal", REPAIRED, words(repair, repeats)))

    def _refuse(self, memory: Memory, item: Apply, error: RefusedError) -> None:
        manifest_hash: str = item.manifest["metadata"]["annotations"][MANIFEST_HASH_ANNOTATION]
        before = memory.refusals.get(item.ref)
        attempts = before.attempts + 1 if before is not None and before.manifest_hash == manifest_hash else 1
        wait = min(REFUSED_RETRY_BASE_SECONDS * 2 ** min(attempts - 1, 20), REFUSED_RETRY_LIMIT_SECONDS)
        memory.refusals[item.ref] = Refusal(manifest_hash, error.message, attempts, clock.monotonic() + wait)

    async def _write_status(self, model: ModelRecord, memory: Memory, wanted: Status, notes: list[Note]) -> None:
        if wanted == memory.status:
            return
        try:
            written = await self.api.apply_status(model.key, wanted)
        except NotFoundError:
            # Deleted since the cache heard of it.
            return
        if (seconds := seconds_to_ready(memory.status or {}, wanted)) is not None:
            self.ready_after(seconds)
        memory.status = wanted
        memory.status_version = int(written["metadata"]["resourceVersion"])
        for note in notes:
            self.recorder.tell(model, note)


@contextmanager
def _doing(verb: str, ref: ChildRef, *, refusals: bool = False) -> Iterator[None]:
    """Failures in it say what was being done. `refusals`: they count among them."""
    try:
        yield
    except FencedError:
        raise
    except (TransientError, RefusedError) as error:
        if isinstance(error, RefusedError) and not refusals:
            raise
        raise ObstructedError(f"{verb} {ref}", error) from error


def _is_worth_a_word(memory: Memory, model: ModelRecord, answer: ApiError) -> bool:
    """Not what passes at the next attempt, unless nothing is told of this generation yet. A server that gives no answer
    takes no status either."""
    silent = isinstance(answer, TransientError) and answer.status == 0
    unheard = (memory.status or {}).get("observedGeneration") != model.generation
    return not silent and (unheard or is_told(memory.obstacle))


def _obstacle(before: Obstacle | None, error: ObstructedError) -> Obstacle:
    """Numbers alone (ports, milliseconds) make no other message: the first one stands."""
    message, attempts = error.answer.message, 1
    if before is not None and before.doing == error.doing:
        attempts = before.attempts + 1
        if _NUMBERS.sub("#", before.message) == _NUMBERS.sub("#", message):
            message = before.message
    return Obstacle(error.doing, message, isinstance(error.answer, RefusedError), attempts)
