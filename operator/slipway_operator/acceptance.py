"""Whether a spec can be carried out: the condition Accepted. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from pydantic import ValidationError

from slipway_operator.api.reasons import Reason
from slipway_operator.api.v1alpha1 import KIND, ModelDeploymentSpec
from slipway_operator.cache import Obstacle, Refusal
from slipway_operator.conditions import Claim
from slipway_operator.records import ChildRecord, ModelRecord
from slipway_operator.redaction import redacted
from slipway_operator.resources import ChildRef

TOLD_FROM_ATTEMPT: Final = 2
"""What passes at the second attempt is worth no word."""
APPLYING: Final = Claim("Unknown", Reason.RECONCILING, "The children are being applied.")
VALID: Final = Claim("True", Reason.VALID, "Every child was accepted by the API server.")


def read_spec(model: ModelRecord) -> ModelDeploymentSpec | Claim:
    """The CRD refuses what is read as a Claim here, unless it is older than the operator."""
    try:
        return ModelDeploymentSpec.model_validate(model.spec)
    except ValidationError as error:
        problems = [
            f"spec.{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        return Claim("False", Reason.INVALID_SPEC, "; ".join(problems))


def scheme_refused(spec: ModelDeploymentSpec, allowed: frozenset[str]) -> Claim | None:
    scheme = spec.artifact.uri.partition("://")[0]
    if scheme in allowed:
        return None
    return Claim(
        "False",
        Reason.SCHEME_NOT_ALLOWED,
        f"spec.artifact.uri: got the scheme '{scheme}', expected one that this installation allows:"
        f" {', '.join(sorted(allowed))}. Use one of these, or ask whoever runs the operator to allow it.",
    )


def name_taken(
    model: ModelRecord, wanted: Iterable[ChildRef], children: Mapping[ChildRef, ChildRecord]
) -> Claim | None:
    """Objects that are not ours are neither overwritten nor adopted. One that we made and that has no owner any more is
    ours."""
    for ref in wanted:
        live = children.get(ref)
        if live is None or live.belongs_to(model.uid):
            continue
        if live.owner_name == model.key.name and live.deleting:
            return Claim(
                "Unknown", Reason.RECONCILING, f"Waiting until {ref} of an earlier {KIND} of this name is removed."
            )
        owner = f"which belongs to another object ({live.owner_name})" if live.owner_name else "which has no owner"
        return Claim(
            "False",
            Reason.NAME_CONFLICT,
            f"{KIND} {model.key.name} needs the name of {ref}, {owner}, in namespace {model.key.namespace}."
            f" Rename the {KIND} or remove the {ref.kind}.",
        )
    return None


def held_up(applies: Iterable[ChildRef], deletes: Iterable[ChildRef]) -> str:
    """What a pause holds up, in a sentence; empty when nothing is."""
    parts = [
        f"{verb} {', '.join(map(str, refs))}"
        for verb, refs in (("apply", list(applies)), ("delete", list(deletes)))
        if refs
    ]
    return f"spec.paused is true. Once it is false the operator will {' and '.join(parts)}." if parts else ""


def paused_at(waiting: str) -> Claim:
    return Claim("Unknown", Reason.PAUSED, waiting)


def child_refused(hashes: Mapping[ChildRef, str], refusals: Mapping[ChildRef, Refusal]) -> Claim | None:
    """`hashes` are those of the manifests as they are wanted now."""
    for ref, manifest_hash in hashes.items():
        refusal = refusals.get(ref)
        if refusal is not None and refusal.manifest_hash == manifest_hash:
            return Claim("False", Reason.CHILD_REFUSED, f"The API server refused {ref}: {redacted(refusal.message)}")
    return None


def obstructed(obstacle: Obstacle | None) -> Claim | None:
    """What keeps the children from being as they should, and is no matter of what was rendered."""
    if obstacle is None or not is_told(obstacle):
        return None
    words = redacted(obstacle.message)
    if obstacle.refused:
        return Claim("False", Reason.CHILD_REFUSED, f"The API server refuses to {obstacle.doing}: {words}")
    return Claim("Unknown", Reason.CHILD_NOT_WRITTEN, f"The operator cannot {obstacle.doing} and keeps trying: {words}")


def is_told(obstacle: Obstacle | None) -> bool:
    return obstacle is not None and (obstacle.refused or obstacle.attempts >= TOLD_FROM_ATTEMPT)


def applying(due: Iterable[ChildRef], children: Mapping[ChildRef, ChildRecord]) -> Claim:
    """A child that is being deleted is made anew only when it is gone, and somebody may hold that up."""
    for ref in due:
        live = children.get(ref)
        if live is not None and live.deleting and live.finalizers:
            return Claim(
                "Unknown",
                Reason.RECONCILING,
                f"Waiting until {ref} is gone, which is being deleted: its finalizers"
                f" ({', '.join(live.finalizers)}) hold that up. It is made anew after that.",
            )
    return APPLYING
