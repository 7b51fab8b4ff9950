"""Which revision is served: the spec's own, or the one that it is rolled back to. Pure.

A revision keeps its pods as they were rendered first, with the image and by the operator of that day. So neither
another version of the operator nor another default image restarts a pod; the next change of the spec takes both up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import ValidationError

from slipway_operator.api.reasons import Reason
from slipway_operator.api.v1alpha1 import ModelDeploymentSpec
from slipway_operator.conditions import Claim
from slipway_operator.records import ChildRecord
from slipway_operator.render.manifest import Owner, RenderSettings
from slipway_operator.render.pods import Pods, render_pods
from slipway_operator.render.revision import Revision, read_revision, revision_name
from slipway_operator.resources import CONTROLLER_REVISION, ChildRef

_OPERATED: Final = ("replicas", "autoscaling", "paused")
"""Fields that steer the object and describe no revision of it."""
_OPERATED_ROLLOUT: Final = ("rollbackTo", "revisionHistoryLimit")


@dataclass(frozen=True)
class Chosen:
    """What is served."""

    spec: ModelDeploymentSpec
    """The object's own; when it is rolled back, the kept one with the object's own number of replicas."""
    revision: Revision
    history: list[Revision]
    """All that are kept, oldest first; `revision` is one of them."""
    rolled_back: bool


def choose(
    owner: Owner,
    spec: ModelDeploymentSpec,
    children: Mapping[ChildRef, ChildRecord],
    settings: RenderSettings,
    *,
    stable: str | None = None,
) -> Chosen | Claim:
    """`stable` names the revision that was last served by every pod; it is kept however many failed after it."""
    history = _history(owner, children)
    if spec.rollout is not None and spec.rollout.rollback_to is not None:
        return _roll_back(spec, str(spec.rollout.rollback_to), history)
    revision = _revision_of(owner, spec, history, settings)
    others = [item for item in history if item.name != revision.name]
    limit = spec.rollout.revision_history_limit if spec.rollout is not None else 5
    newest = others[-limit:] if limit else []
    kept = [item for item in others if item in newest or item.name == stable]
    return Chosen(spec, revision, [*kept, revision], rolled_back=False)


def _history(owner: Owner, children: Mapping[ChildRef, ChildRecord]) -> list[Revision]:
    found = [
        revision
        for ref, record in children.items()
        if ref.kind == CONTROLLER_REVISION.kind
        and record.belongs_to(owner.uid)
        and not record.deleting
        and (revision := read_revision(ref.name, record.body)) is not None
    ]
    return sorted(found, key=lambda item: (item.number, item.name))


def _roll_back(spec: ModelDeploymentSpec, wanted: str, history: list[Revision]) -> Chosen | Claim:
    target = next((item for item in history if wanted in (item.name, str(item.number))), None)
    if target is None:
        kept = ", ".join(f"{item.number} ({item.name})" for item in reversed(history)) or "none yet"
        return Claim(
            "False",
            Reason.REVISION_NOT_FOUND,
            f"spec.rollout.rollbackTo: got '{wanted}', expected the number or the name of a revision that is kept:"
            f" {kept}. Name one of them, or remove the field. Nothing is changed meanwhile.",
        )
    try:
        served = _operated(target.spec, spec)
    except ValidationError as error:
        return Claim(
            "False",
            Reason.REVISION_NOT_FOUND,
            f"spec.rollout.rollbackTo: revision '{wanted}' was kept by another version of the operator and cannot be"
            f" read: {error.errors(include_url=False)[0]['msg']}. Name another, or remove the field.",
        )
    return Chosen(served, target, history, rolled_back=True)


def _operated(kept: dict[str, Any], spec: ModelDeploymentSpec) -> ModelDeploymentSpec:
    """The kept spec, steered by the object as it is now."""
    now = spec.model_dump(by_alias=True, exclude_none=True, mode="json")
    steering = {name: now[name] for name in _OPERATED if name in now}
    rollout = {name: now["rollout"][name] for name in _OPERATED_ROLLOUT if name in now["rollout"]}
    return ModelDeploymentSpec.model_validate({**kept, **steering, "rollout": kept.get("rollout", {}) | rollout})


def _revision_of(
    owner: Owner, spec: ModelDeploymentSpec, history: list[Revision], settings: RenderSettings
) -> Revision:
    """The newest one of this spec, made the newest of all, or a new one."""
    wanted = _snapshot(spec)
    next_number = history[-1].number + 1 if history else 1
    fresh = render_pods(owner, spec, settings) if settings.always_upgrade else None
    for known in reversed(history):
        if _is_of(known, wanted) and fresh in (None, known.pods):
            return known if known is history[-1] else replace(known, number=next_number)
    pods = fresh or _pods(owner, spec, history, settings)
    return Revision(revision_name(owner, wanted, pods), next_number, wanted, pods)


def _pods(owner: Owner, spec: ModelDeploymentSpec, history: list[Revision], settings: RenderSettings) -> Pods:
    """Those of the revision before where the change does not concern them: then they need not be replaced."""
    fresh = render_pods(owner, spec, settings)
    if not history:
        return fresh
    before = history[-1]
    try:
        rendered_now = render_pods(owner, ModelDeploymentSpec.model_validate(before.spec), settings)
    except ValidationError:
        return fresh
    return before.pods if rendered_now == fresh else fresh


def _snapshot(spec: ModelDeploymentSpec) -> dict[str, Any]:
    """Only what was said: a field that a later version adds must not look like a change of every object."""
    said: dict[str, Any] = spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    kept = {name: value for name, value in said.items() if name not in _OPERATED}
    rollout = {name: value for name, value in said.get("rollout", {}).items() if name not in _OPERATED_ROLLOUT}
    return {name: value for name, value in (kept | {"rollout": rollout}).items() if name != "rollout" or value}


def _is_of(known: Revision, wanted: dict[str, Any]) -> bool:
    if known.spec == wanted:
        return True
    try:
        return _snapshot(ModelDeploymentSpec.model_validate(known.spec)) == wanted
    except ValidationError:
        return False


def rolled_back_to(chosen: Chosen | None) -> str:
    """In a sentence; empty when the spec itself is served."""
    if chosen is None or not chosen.rolled_back:
        return ""
    revision = chosen.revision
    return (
        f"Revision {revision.number} ({revision.name}) is served in place of the spec, as spec.rollout.rollbackTo asks."
        " Remove the field to serve the spec."
    )


def revision_status(chosen: Chosen | None, previous: Mapping[str, Any], *, complete: bool) -> dict[str, Any]:
    """`complete`: every pod is of the chosen revision and ready. The fields stay while nothing is chosen."""
    if chosen is None:
        return {name: previous.get(name) for name in ("revisions", "stableRevision", "candidateRevision")}
    served = chosen.revision.name
    kept = [revision.name for revision in chosen.history]
    before = previous.get("stableRevision")
    stable = served if complete else before if before in kept else None
    return {
        "revisions": [_summary(revision) for revision in reversed(chosen.history) if revision.created is not None],
        "stableRevision": stable,
        "candidateRevision": served if served != stable else None,
    }


def _summary(revision: Revision) -> dict[str, Any]:
    return {
        "name": revision.name,
        "number": revision.number,
        "image": revision.image,
        "createdAt": revision.created,
    }
