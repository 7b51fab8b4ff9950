"""What is to be done for one ModelDeployment, from what was observed. Pure: no clock, no cluster.

A pass asks twice: first for what to apply and delete, then, with the answers in, for the status.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from slipway_operator.acceptance import (
    VALID,
    applying,
    child_refused,
    held_up,
    name_taken,
    obstructed,
    paused_at,
    read_spec,
    scheme_refused,
)
from slipway_operator.api.v1alpha1 import ModelDeploymentSpec
from slipway_operator.cache import Memory
from slipway_operator.conditions import Claim
from slipway_operator.drift import differences
from slipway_operator.listeners import GatewaySight
from slipway_operator.names import MANIFEST_HASH_ANNOTATION, config_map_name
from slipway_operator.records import ChildRecord, ModelRecord, PodRecord
from slipway_operator.render.children import render_children
from slipway_operator.render.deployment import names_revision, template_hash
from slipway_operator.render.manifest import Manifest, Owner, RenderSettings, stable_hash
from slipway_operator.render.revision import render_revision
from slipway_operator.repairs import Damage, find_damage
from slipway_operator.resources import (
    CONFIG_MAP,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    HTTP_ROUTE,
    INGRESS,
    NETWORK_POLICY,
    SERVICE,
    ChildRef,
    Resource,
    child_ref,
)
from slipway_operator.retention import with_older_configurations
from slipway_operator.revisions import Chosen, choose
from slipway_operator.route_verification import RouteQuestion
from slipway_operator.status import Note, Situation, report
from slipway_operator.surge import Surge, replacing, surge, told
from slipway_operator.verification import Inquiry

_AT_TIMES: Final = (DISRUPTION_BUDGET, NETWORK_POLICY, INGRESS, HTTP_ROUTE)
"""Kinds that a spec needs or not."""
TAKEN_NAME_RECHECK_SECONDS: Final = 10.0
"""An object that is not ours sends us no events."""


@dataclass(frozen=True)
class Policy:
    """What the installation decides."""

    render: RenderSettings
    allowed_schemes: frozenset[str]
    asks: bool = False
    """Services are asked for a prediction before an object is Ready, and pods how far they have come."""
    asks_routes: bool = False
    """So are the ways in from outside, before their URL is told."""


@dataclass(frozen=True)
class Observed:
    """One moment. `children` holds every object that has the name of a child, ours or not."""

    model: ModelRecord
    children: Mapping[ChildRef, ChildRecord]
    pods: list[PodRecord]
    memory: Memory
    now: datetime
    monotonic: float
    gateway_api: GatewaySight = field(default_factory=GatewaySight)


@dataclass(frozen=True)
class Apply:
    """`uid` is that of the object to be changed; None where there is none yet."""

    ref: ChildRef
    manifest: Manifest
    uid: str | None
    damage: Damage | None = None
    """What others did to the object; None when that is not why it is applied."""


@dataclass(frozen=True)
class Delete:
    ref: ChildRef
    uid: str


@dataclass(frozen=True)
class Plan:
    applies: list[Apply]
    """In the order in which they are to be sent; one that is refused stops the rest."""
    deletes: list[Delete]
    status: dict[str, Any]
    notes: list[Note] = field(default_factory=list)
    inquiry: Inquiry | None = None
    """What is to be asked over the network, until it is answered."""
    route_question: RouteQuestion | None = None
    """The same of the way in from outside."""
    requeue_after: float | None = None
    """Seconds until time alone may change the plan."""


@dataclass(frozen=True)
class _Desired:
    """`spec` is a Claim when it can't be read; then nothing is wanted and nothing is touched."""

    spec: ModelDeploymentSpec | None
    chosen: Chosen | None
    manifests: dict[ChildRef, Manifest]
    hold: Claim | None
    """Why nothing may be touched."""
    surge: Surge = field(default_factory=Surge)


def wanted_children(model: ModelRecord, known: Mapping[ChildRef, ChildRecord], policy: Policy) -> list[ChildRef]:
    """Names that this spec needs, to be looked up where the cache does not know them."""
    spec = read_spec(model)
    if isinstance(spec, Claim):
        return []
    chosen = choose(_owner(model), spec, known, policy.render, stable=_stable(model.status))
    return [] if isinstance(chosen, Claim) else [child_ref(item) for item in _manifests(model, chosen, policy)]


def needless_children(model: ModelRecord, wanted: Iterable[ChildRef], previous: Mapping[str, Any]) -> list[ChildRef]:
    """Names that an earlier spec may have needed, while a new one is carried out.

    Whoever takes our labels off a child hides it from every watch, and the spec that no longer needs it can't tell.
    """
    if previous.get("observedGeneration") in (None, model.generation):
        return []
    refs = [ChildRef(resource.kind, model.key.name) for resource in _AT_TIMES]
    return [ref for ref in refs if ref not in wanted]


def plan(observed: Observed, policy: Policy) -> Plan:
    desired = _desired(observed, policy)
    due = [ref for ref in desired.manifests if _is_due(ref, desired.manifests[ref], observed)]
    deletes = [] if desired.hold else _deletes(desired.manifests, observed)
    paused = desired.hold is None and desired.spec is not None and desired.spec.paused
    waiting = held_up(due, [item.ref for item in deletes]) if paused else ""
    refused = child_refused(_hashes(desired.manifests), observed.memory.refusals)
    deployment = next((manifest for ref, manifest in desired.manifests.items() if ref.kind == DEPLOYMENT.kind), None)
    verdict = report(
        Situation(
            model=observed.model,
            spec=desired.spec,
            accepted=desired.hold
            or refused
            or (None if paused else obstructed(observed.memory.obstacle))
            or (paused_at(waiting) if waiting else applying(due, observed.children) if due else VALID),
            waiting=waiting,
            chosen=desired.chosen,
            replacing=told(desired.surge.lacking),
            template_hash=template_hash(deployment) if deployment is not None else None,
            settled=desired.hold is None and not due and _is_observed(observed),
            children=observed.children,
            pods=[pod for pod in observed.pods if pod.selected and pod.template_hash is not None],
            strangers=[pod for pod in observed.pods if pod.selected and pod.template_hash is None],
            previous=observed.memory.status or {},
            now=observed.now,
            gateway_api=observed.gateway_api,
            asks=policy.asks,
            names_revision=deployment is not None and names_revision(deployment),
            template_stands=_changed(DEPLOYMENT, ".spec.template", due, desired, observed) is None,
            service_changed=_changed(SERVICE, ".spec", due, desired, observed),
            started_seen=observed.memory.started_seen,
            asks_routes=policy.asks_routes,
            verdict=observed.memory.verdict,
            route_verdict=observed.memory.route_verdict,
            told=observed.memory.progress,
        )
    )
    return Plan(
        applies=[] if desired.hold or paused else _applies(due, desired.manifests, observed),
        deletes=[] if paused else deletes,
        status=verdict.status,
        notes=verdict.notes,
        inquiry=verdict.inquiry,
        route_question=verdict.route_question,
        requeue_after=_requeue_after(verdict.look_again_seconds, desired, observed),
    )


def rendered(observed: Observed, policy: Policy) -> Mapping[ChildRef, Manifest]:
    """Every child as it has to be; none where nothing may be touched."""
    desired = _desired(observed, policy)
    return {} if desired.hold else desired.manifests


def _manifests(model: ModelRecord, chosen: Chosen, policy: Policy) -> list[Manifest]:
    """Revisions come last: what is kept was accepted by the API server."""
    owner = _owner(model)
    children = render_children(owner, chosen.spec, policy.render, chosen.revision.pods)
    return [*children, *(render_revision(owner, revision) for revision in chosen.history)]


def _stable(status: Mapping[str, Any]) -> str | None:
    return status.get("stableRevision")


def _owner(model: ModelRecord) -> Owner:
    return Owner(namespace=model.key.namespace, name=model.key.name, uid=model.uid)


def _desired(observed: Observed, policy: Policy) -> _Desired:
    spec = read_spec(observed.model)
    if isinstance(spec, Claim):
        return _Desired(None, None, {}, spec)
    stable = _stable(observed.memory.status or {})
    chosen = choose(_owner(observed.model), spec, observed.children, policy.render, stable=stable)
    if isinstance(chosen, Claim):
        return _Desired(spec, None, {}, chosen)
    spec = chosen.spec
    manifests = {child_ref(manifest): manifest for manifest in _manifests(observed.model, chosen, policy)}
    if not observed.gateway_api.served:
        # RouteReady tells it. All else is carried out.
        manifests.pop(ChildRef(HTTP_ROUTE.kind, observed.model.key.name), None)
    hold = scheme_refused(spec, policy.allowed_schemes) or name_taken(observed.model, manifests, observed.children)
    if hold is not None:
        return _Desired(spec, None, _all_stamped(manifests), hold)
    _keep_older_configurations(manifests, observed)
    room = _surge(chosen, manifests, observed)
    return _Desired(spec, chosen, _all_stamped(manifests), None, room)


def _surge(chosen: Chosen, manifests: Mapping[ChildRef, Manifest], observed: Observed) -> Surge:
    ref = ChildRef(DEPLOYMENT.kind, observed.model.key.name)
    wanted = manifests[ref]
    live = observed.children.get(ref)
    room = surge(chosen.spec, template_hash(wanted), live, observed.pods, observed.now)
    if room.lacking:
        replacing(wanted, room.lacking)
    return room


def _keep_older_configurations(manifests: dict[ChildRef, Manifest], observed: Observed) -> None:
    name = observed.model.key.name
    ref = ChildRef(CONFIG_MAP.kind, config_map_name(name))
    live = observed.children.get(ChildRef(DEPLOYMENT.kind, name))
    state = live.deployment if live is not None else None
    wanted = manifests[ChildRef(DEPLOYMENT.kind, name)]["spec"]
    rolled_out = (
        live is not None
        and state is not None
        and state.observed_generation >= state.generation
        and state.replicas == state.updated_replicas == state.ready_replicas == wanted["replicas"]
        and _annotations(live.body["spec"]["template"]) == wanted["template"]["metadata"]["annotations"]
    )
    manifests[ref] = with_older_configurations(
        manifests[ref], observed.children.get(ref), observed.pods, rolled_out=rolled_out
    )


def _annotations(template: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = (template.get("metadata") or {}).get("annotations") or {}
    return found


def _all_stamped(manifests: Mapping[ChildRef, Manifest]) -> dict[ChildRef, Manifest]:
    return {ref: _stamped(manifest) for ref, manifest in manifests.items()}


def _stamped(manifest: Manifest) -> Manifest:
    """Copies no more than it changes: that is most of what a pass without a change costs."""
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), MANIFEST_HASH_ANNOTATION: stable_hash(manifest)}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def _hashes(manifests: Mapping[ChildRef, Manifest]) -> dict[ChildRef, str]:
    return {ref: manifest["metadata"]["annotations"][MANIFEST_HASH_ANNOTATION] for ref, manifest in manifests.items()}


def _is_due(ref: ChildRef, manifest: Manifest, observed: Observed) -> bool:
    live = observed.children.get(ref)
    if live is None or live.deleting:
        return True
    if live.manifest_hash != manifest["metadata"]["annotations"][MANIFEST_HASH_ANNOTATION]:
        return True
    return not differences(manifest, live.body) <= observed.memory.rewritten.get(ref, frozenset())


def _changed(resource: Resource, under: str, due: list[ChildRef], desired: _Desired, observed: Observed) -> str | None:
    """Where the live child of the object's own name does not say under this path what it should."""
    ref = ChildRef(resource.kind, observed.model.key.name)
    live = observed.children.get(ref)
    if live is None or ref not in due:
        return None
    found = differences(desired.manifests[ref], live.body) - observed.memory.rewritten.get(ref, frozenset())
    return min((path for path, _ in found if path.startswith(under)), default=None)


def _is_observed(observed: Observed) -> bool:
    live = observed.children.get(ChildRef(DEPLOYMENT.kind, observed.model.key.name))
    state = live.deployment if live is not None else None
    return state is not None and state.observed_generation >= state.generation


def _applies(due: list[ChildRef], manifests: Mapping[ChildRef, Manifest], observed: Observed) -> list[Apply]:
    found = []
    hashes = _hashes(manifests)
    for ref in due:
        live = observed.children.get(ref)
        if live is not None and live.deleting:
            # It is made anew when it is gone; what follows needs it.
            break
        refusal = observed.memory.refusals.get(ref)
        if refusal is not None and refusal.manifest_hash == hashes[ref] and observed.monotonic < refusal.retry_at:
            break
        damage = _damage(ref, manifests[ref], observed)
        found.append(Apply(ref, manifests[ref], live.uid if live is not None else None, damage))
    return found


def _damage(ref: ChildRef, manifest: Manifest, observed: Observed) -> Damage | None:
    live = observed.children.get(ref)
    taken_up = (observed.memory.status or {}).get("observedGeneration") == observed.model.generation
    return find_damage(
        manifest,
        live,
        differences(manifest, live.body) if live is not None else frozenset(),
        was_there=taken_up and ref in observed.memory.gone,
    )


def _deletes(manifests: Mapping[ChildRef, Manifest], observed: Observed) -> list[Delete]:
    return [
        Delete(ref, live.uid)
        for ref, live in observed.children.items()
        if ref not in manifests and live.belongs_to(observed.model.uid) and not live.deleting
    ]


def _requeue_after(look_again: float | None, desired: _Desired, observed: Observed) -> float | None:
    waits = [look_again] if look_again is not None else []
    if desired.surge.look_again is not None:
        waits.append(max((desired.surge.look_again - observed.now).total_seconds(), 0.0))
    if desired.hold is not None and desired.spec is not None:
        waits.append(TAKEN_NAME_RECHECK_SECONDS)
    for ref, manifest_hash in _hashes(desired.manifests).items():
        refusal = observed.memory.refusals.get(ref)
        if refusal is not None and refusal.manifest_hash == manifest_hash:
            waits.append(max(refusal.retry_at - observed.monotonic, 0.0))
    return min(waits, default=None)
