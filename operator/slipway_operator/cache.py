"""What the operator knows of the cluster, by ModelDeployment, and what it remembers of its own doings.

Events and sweeps fill it; `reconcile` reads it. Nothing here awaits, so each method is atomic.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from slipway_operator.api.v1alpha1 import KIND
from slipway_operator.names import MODEL_LABEL
from slipway_operator.packing import Packed
from slipway_operator.records import ChildRecord, ModelRecord, PodRecord
from slipway_operator.repairs import Repeats
from slipway_operator.resources import ChildRef, Key
from slipway_operator.route_verification import RouteVerdict
from slipway_operator.verification import Verdict
from slipway_runtime.contract import RuntimeStatus

_GONE_LIMIT: Final = 20_000


@dataclass(frozen=True)
class Refusal:
    """The API server's answer to a child as it was rendered."""

    manifest_hash: str
    message: str
    attempts: int
    retry_at: float
    """Monotonic seconds."""


@dataclass(frozen=True)
class Obstacle:
    """The API server's answer where it neither did what it was asked nor refused a child as it was rendered."""

    doing: str
    """Such as `apply Service digits`."""
    message: str
    refused: bool
    """It will be refused again until something else changes."""
    attempts: int


@dataclass
class Memory:
    """What only this process knows of one ModelDeployment; all of it can be lost without harm."""

    uid: str
    generation: int = 0
    status: Packed = Packed()  # noqa: RUF009 - a descriptor, which holds nothing itself
    """The status as last written. Its echo comes late, so the cached one is no measure."""
    status_version: int = 0
    """The object's resource version after that write."""
    refusals: dict[ChildRef, Refusal] = field(default_factory=dict)
    obstacle: Obstacle | None = None
    """What the last pass could not do."""
    started_seen: dict[str, datetime] = field(default_factory=dict)
    """When pods that are not ready were first seen to have started, by uid."""
    verdict: Verdict | None = None
    """What came of the last question that was put to the Service."""
    route_verdict: RouteVerdict | None = None
    """What came of the last question that was put to the way in from outside."""
    progress: RuntimeStatus | None = None
    """What a pod told of itself last."""
    rewritten: dict[ChildRef, frozenset[tuple[str, str]]] = field(default_factory=dict)
    """Values that the API server answered with instead of ours (a mutating webhook); applying again changes nothing."""
    gone: frozenset[ChildRef] = frozenset()
    """Children that went away since this generation was taken up, and were not made anew."""
    repairs: dict[ChildRef, Repeats] = field(default_factory=dict)
    """Of children that others changed or deleted: how often they were put back."""


class Cache:
    """Records by owner. A record that is older than the one known, or whose object is gone, is dropped."""

    def __init__(self) -> None:
        self.models: dict[Key, ModelRecord] = {}
        self._children: dict[Key, dict[ChildRef, ChildRecord]] = {}
        self._pods: dict[Key, dict[str, PodRecord]] = {}
        self._memories: dict[Key, Memory] = {}
        self.closed: set[str] = set()
        """Namespaces that may not be read at present, so that what is known of them is not all there is."""
        self._gone: OrderedDict[str, int] = OrderedDict()
        """The version at which an object left our sight. A change of its labels does that too, and it may come back."""

    def children(self, key: Key) -> dict[ChildRef, ChildRecord]:
        return dict(self._children.get(key, {}))

    def pods(self, key: Key) -> list[PodRecord]:
        return sorted(self._pods.get(key, {}).values(), key=lambda pod: pod.name)

    def memory(self, model: ModelRecord) -> Memory:
        """A fresh one for each uid; its status starts as the server's."""
        memory = self._memories.get(model.key)
        if memory is None or memory.uid != model.uid:
            memory = self._memories[model.key] = Memory(model.uid, status=model.status)
        if memory.generation != model.generation:
            # A new spec is a new question: no earlier refusal holds it back.
            memory.generation = model.generation
            memory.refusals.clear()
            memory.obstacle = None
            memory.gone = frozenset()
        return memory

    def put_model(self, record: ModelRecord) -> bool:
        """Whether anything changed that a plan looks at."""
        return self._put(self.models, record.key, record)

    def put_child(self, owner: Key, record: ChildRecord) -> bool:
        records = self._children.setdefault(owner, {})
        known = records.get(record.ref)
        changed = self._put(records, record.ref, record)
        if changed and (known is None or (known.uid, known.packed_body) != (record.uid, record.packed_body)):
            self._forget_refusal(owner, record.ref)
        return changed

    def put_pod(self, record: PodRecord) -> bool:
        return self._put(self._pods.setdefault(record.key, {}), record.name, record)

    def remove_model(self, key: Key, uid: str, version: int) -> bool:
        removed = self._remove(self.models, key, uid, version)
        if removed:
            self._memories.pop(key, None)
        return removed

    def remove_child(self, owner: Key, ref: ChildRef, uid: str, version: int) -> bool:
        known = self._children.get(owner, {}).get(ref)
        removed = self._remove_nested(self._children, owner, ref, uid, version)
        if removed:
            self._forget_refusal(owner, ref)
            memory = self._memories.get(owner)
            if memory is not None and known is not None and known.belongs_to(memory.uid):
                memory.gone |= {ref}
        return removed

    def _forget_refusal(self, owner: Key, ref: ChildRef) -> None:
        """What is changed now may have been what it was refused for. A change of its status alone is no reason."""
        memory = self._memories.get(owner)
        if memory is not None:
            memory.refusals.pop(ref, None)

    def remove_pod(self, owner: Key, name: str, uid: str, version: int) -> bool:
        return self._remove_nested(self._pods, owner, name, uid, version)

    def forget_child(self, owner: Key, ref: ChildRef) -> None:
        """The record proved wrong; the next pass looks at the server."""
        self._children.get(owner, {}).pop(ref, None)

    def check_status(self, listed: ModelRecord) -> None:
        """The status on the server, freshly listed, counts more than what we remember to have written.

        Not so where our write is younger than the list.
        """
        memory = self._memories.get(listed.key)
        if memory is not None and memory.uid == listed.uid and memory.status_version <= listed.resource_version:
            memory.status = listed.status

    def retain_models(self, uids: set[str], version: int, namespace: str | None) -> set[Key]:
        """`uids` are all there were at `version` in `namespace` (None: anywhere). Returns the keys of what is gone."""
        stale = [
            item
            for item in self.models.values()
            if item.uid not in uids and item.resource_version <= version and namespace in (None, item.key.namespace)
        ]
        return {item.key for item in stale if self.remove_model(item.key, item.uid, version)}

    def retain_children(self, kind: str, uids: set[str], version: int, namespace: str | None) -> set[Key]:
        stale = [
            (owner, record)
            for owner, records in self._children.items()
            for record in records.values()
            if record.ref.kind == kind
            and record.uid not in uids
            and record.resource_version <= version
            and namespace in (None, owner.namespace)
        ]
        return {owner for owner, record in stale if self.remove_child(owner, record.ref, record.uid, version)}

    def retain_pods(self, uids: set[str], version: int, namespace: str | None) -> set[Key]:
        stale = [
            (owner, record)
            for owner, records in self._pods.items()
            for record in records.values()
            if record.uid not in uids and record.resource_version <= version and namespace in (None, owner.namespace)
        ]
        return {owner for owner, record in stale if self.remove_pod(owner, record.name, record.uid, version)}

    def _put(self, records: dict[Any, Any], name: object, record: ModelRecord | ChildRecord | PodRecord) -> bool:
        if record.resource_version <= self._gone.get(record.uid, -1):
            return False
        known = records.get(name)
        if known is not None and known.uid == record.uid and known.resource_version > record.resource_version:
            return False
        records[name] = record
        return bool(known != record)

    def _remove(self, records: dict[Any, Any], name: object, uid: str, version: int) -> bool:
        self._gone[uid] = version
        if len(self._gone) > _GONE_LIMIT:
            self._gone.popitem(last=False)
        known = records.get(name)
        if known is None or known.uid != uid:
            return False
        del records[name]
        return True

    def _remove_nested(
        self, records: dict[Key, dict[Any, Any]], owner: Key, name: object, uid: str, version: int
    ) -> bool:
        removed = self._remove(records.get(owner, {}), name, uid, version)
        if owner in records and not records[owner]:
            del records[owner]
        return removed


def owner_key(body: dict[str, Any]) -> Key | None:
    """The ModelDeployment that controls a child; else the one that its label names, which anybody can edit."""
    metadata = body["metadata"]
    for owner in metadata.get("ownerReferences") or []:
        if owner.get("controller") and owner["kind"] == KIND:
            return Key(metadata["namespace"], owner["name"])
    name = (metadata.get("labels") or {}).get(MODEL_LABEL)
    return Key(metadata["namespace"], name) if name else None
