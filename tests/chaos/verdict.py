"""Whether a namespace is what it has to be once the dust has settled.

The operator's own `plan`, asked about a fresh listing and with no memory, must find nothing to do; and the API server,
asked by dry run to apply every child anew, must find nothing to change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from slipway_operator.cache import Memory
from slipway_operator.names import COMPONENT, MODEL_LABEL
from slipway_operator.plan import Observed, Policy, plan, rendered
from slipway_operator.records import ChildRecord, child_record, model_record, pod_record
from slipway_operator.resources import CHILDREN, CONTROLLER_REVISION, DEPLOYMENT, MODEL, POD, ChildRef
from tests.chaos.acts import Book, Place, revision
from tests.chaos.audit import owner_of
from tests.fixtures.apiserver import ApiServer, ApiServerError
from tests.fixtures.objects import Manifest

_UNSTABLE: Final = ("managedFields", "resourceVersion", "generation", "creationTimestamp")
_SHOWN_CONDITIONS: Final = ("Accepted", "Progressing", "Paused")


@dataclass(frozen=True)
class Sight:
    """All that one namespace holds, from one moment."""

    models: list[Manifest]
    children: list[Manifest]
    """Every object of a child's kind, whoever it belongs to."""
    pods: list[Manifest]


async def look(api: ApiServer, namespace: str) -> Sight:
    children = []
    for resource in CHILDREN:
        try:
            listed = await api.list(resource, namespace)
        except ApiServerError as error:
            if error.status != 404:
                raise
            continue  # a kind whose CRD is not installed here
        children += [{"kind": resource.kind, "apiVersion": resource.api_version} | item for item in listed]
    pods = [{"kind": POD.kind} | item for item in await api.list(POD, namespace)]
    return Sight(await api.list(MODEL, namespace), children, pods)


def unsettled(sight: Sight, policy: Policy, now: datetime) -> list[str]:
    """What the operator would still do or say. Empty once the dust has settled."""
    found = abandoned(sight)
    for model in sight.models:
        found += [f"{model['metadata']['name']}: {text}" for text in _unsettled(model, sight, policy, now)]
    return found


def abandoned(sight: Sight) -> list[str]:
    """What the garbage collector has to take, by way of the Deployment and the ReplicaSet where it is a pod."""
    owners = {model["metadata"]["uid"]: model["metadata"]["name"] for model in sight.models}
    children = [
        f"{' '.join(place(item))} outlives its owner"
        for item in sight.children
        if (owner := owner_of(item)) is not None and owner[1] not in owners
    ]
    return children + [
        f"Pod {pod['metadata']['name']} belongs to no model that there is"
        for pod in sight.pods
        if pod["metadata"].get("labels", {}).get(MODEL_LABEL) not in owners.values()
    ]


def _unsettled(model: Manifest, sight: Sight, policy: Policy, now: datetime) -> list[str]:
    record = model_record(model)
    if record.deleting:
        return ["is still being deleted"]
    observed = observe(model, sight, now)
    wanted = plan(observed, policy)
    found = [f"{item.ref} would be applied" for item in wanted.applies]
    found += [f"{item.ref} would be deleted" for item in wanted.deletes]
    told = record.status
    if told.get("observedGeneration") != record.generation:
        found.append(f"the status is about generation {told.get('observedGeneration')} of {record.generation}")
    for name in ("replicas", "readyReplicas", "replicaSummary"):
        if told.get(name) != wanted.status.get(name):
            found.append(f"status.{name} is {told.get(name)!r}, not {wanted.status.get(name)!r}")
    said, true = _said(told), _said(wanted.status)
    found += [f"{kind} says {said.get(kind)}, not {true.get(kind)}" for kind in true if said.get(kind) != true[kind]]
    return found


def observe(model: Manifest, sight: Sight, now: datetime) -> Observed:
    record = model_record(model)
    pods = [pod for item in sight.pods if (pod := pod_record(item)) is not None and pod.key == record.key]
    return Observed(
        model=record,
        children=_children(sight, model),
        pods=sorted(pods, key=lambda pod: pod.name),
        memory=Memory(record.uid, generation=record.generation, status=record.status),
        now=now,
        monotonic=0.0,
    )


def _children(sight: Sight, model: Manifest) -> Mapping[ChildRef, ChildRecord]:
    """Those that belong to the model, and whatever has a name that it may need."""
    records = [(child_record(item["kind"], item), owner_of(item)) for item in sight.children]
    name, uid = model["metadata"]["name"], model["metadata"]["uid"]
    return {
        record.ref: record
        for record, owner in records
        if owner == (name, uid) or record.ref.name == name or record.ref.name.startswith(f"{name}-")
    }


def _said(status: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    return {
        item["type"]: (item["status"], item["reason"])
        for item in status.get("conditions") or []
        if item["type"] in _SHOWN_CONDITIONS
    }


def harmed(sight: Sight, book: Book) -> list[str]:
    """What was done that must never be done."""
    places = {place(item): item for item in sight.children + sight.pods}
    found = [_changed(where, before, places.get(where)) for where, before in book.strangers.items()]
    for where, before in book.steady.items():
        after = places.get(where)
        if after is None or after["metadata"]["uid"] != before["metadata"]["uid"]:
            found.append(f"{' '.join(where)} of the untouched model was made anew")
        elif _own_writes(after) != _own_writes(before):
            found.append(f"{' '.join(where)} of the untouched model was written")
    numbers: Counter[tuple[str, int]] = Counter()
    for item in sight.children:
        owner = owner_of(item)
        if owner is None:
            continue
        allowed = book.templates[owner[0]] + 1
        if item["kind"] == DEPLOYMENT.kind and revision(item) > allowed:
            found.append(f"{owner[0]} has had {revision(item)} pod templates, and at most {allowed} were brought about")
        if item["kind"] == CONTROLLER_REVISION.kind:
            numbers[(owner[0], item["revision"])] += 1
    found += [f"{name} has {many} revisions {number}" for (name, number), many in numbers.items() if many > 1]
    return [text for text in found if text]


def _own_writes(item: Manifest) -> list[Manifest]:
    """What the operator has written and when; its status, which controllers write, is another entry."""
    return [entry for entry in item["metadata"].get("managedFields") or [] if entry["manager"] == COMPONENT]


def _changed(where: Place, before: Manifest, after: Manifest | None) -> str:
    if after is None:
        return f"{' '.join(where)} is gone, which is not the operator's"
    old, new = before["metadata"]["resourceVersion"], after["metadata"]["resourceVersion"]
    return "" if old == new else f"{' '.join(where)} was written for no reason: version {old}, now {new}"


async def differing(api: ApiServer, sight: Sight, policy: Policy, now: datetime) -> list[str]:
    """Children that the API server would change if they were applied as they are rendered from the spec alone."""
    found = []
    live = {(item["kind"], item["metadata"]["name"]): item for item in sight.children}
    for model in sight.models:
        if model["spec"].get("paused"):
            continue
        for ref, manifest in rendered(observe(model, sight, now), policy).items():
            there = live.get((ref.kind, ref.name))
            if there is None:
                found.append(f"{ref} is missing")
                continue
            would = await api.dry_run_apply(ref.resource, manifest, COMPONENT)
            paths = _differences("", _comparable(there), _comparable(would))
            found += [f"{ref} differs from what the API server makes of its manifest: {path}" for path in paths]
    return found


def _comparable(item: Manifest) -> Manifest:
    metadata = {name: value for name, value in item["metadata"].items() if name not in _UNSTABLE}
    kept = {name: value for name, value in item.items() if name not in ("metadata", "status", "apiVersion", "kind")}
    return kept | {"metadata": metadata}


def _differences(path: str, there: Any, would: Any) -> Iterator[str]:
    if isinstance(there, dict) and isinstance(would, dict):
        for name in sorted(there.keys() | would.keys()):
            yield from _differences(f"{path}.{name}", there.get(name), would.get(name))
    elif there != would:
        yield f"{path} is {there!r}, would be {would!r}"


def place(item: Manifest) -> Place:
    return (item["kind"], item["metadata"]["name"])
