"""From what was observed to the conditions. Pure: a claim has no time; `merged` gives it one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from slipway_operator.api.reasons import ConditionType, Reason
from slipway_operator.failures import Failure
from slipway_operator.names import MODEL_LABEL
from slipway_operator.scaling import Scaling

Status = Literal["True", "False", "Unknown"]

_STARTING: Final = "Pods of this generation are starting."
MESSAGE_LIMIT: Final = 4096
"""Characters; an API server that lists a hundred errors has made its point before."""


@dataclass(frozen=True)
class Claim:
    """What a condition says."""

    status: Status
    reason: str
    message: str


@dataclass(frozen=True)
class View:
    """What the conditions are judged by."""

    accepted: Claim
    replacing: str
    """In a sentence, why old pods end before their successors start; empty while they do not."""
    rolled_back: str
    """In a sentence, which revision is served in place of the spec; empty when none is."""
    paused: bool
    waiting: str
    """While paused: what is not as the spec wants it, in a sentence; empty when all is."""
    scaling: Scaling | None
    """None when the spec can't be read."""
    replicas: int
    """Wanted, after the bounds of `spec.autoscaling`."""
    settled: bool
    """The live Deployment is the one we applied last, and its controller has seen it."""
    was_ready: bool
    """So said the last status."""
    template_stands: bool
    """The live Deployment makes pods from our template, whatever else of it has changed."""
    stranger: str
    """A ready pod that the Service leads to and that is not the Deployment's; empty when there is none."""
    pods: int
    """All that the Deployment counts."""
    updated_pods: int
    """Those of its newest template."""
    ready_current: int
    """Pods of this generation that are ready."""
    ready_any: int
    older_pods_left: bool
    cause: Failure | None
    """What is wrong with this generation."""
    rolled_out: bool
    """This generation was complete once."""
    deadline_exceeded: bool
    artifact: Claim
    """ArtifactResolved."""
    progress: str
    """How far the pods have come; empty when they have not told."""
    unproven: Claim | None
    """While no prediction has gone through the Service: what Ready says."""
    proven: Claim
    """What Ready says otherwise: True, and what that rests on."""
    route: Claim


def judge(view: View) -> dict[ConditionType, Claim]:
    """Every condition, in the order in which they are shown."""
    return {
        ConditionType.READY: _ready(view),
        ConditionType.AVAILABLE: _available(view),
        ConditionType.PROGRESSING: _progressing(view),
        ConditionType.DEGRADED: _degraded(view),
        ConditionType.ACCEPTED: view.accepted,
        ConditionType.ARTIFACT_RESOLVED: view.artifact,
        ConditionType.STALLED: _stalled(view),
        ConditionType.ROUTE_READY: view.route,
        ConditionType.SCALING_LIMITED: _scaling_limited(view.scaling),
        ConditionType.ROLLED_BACK: _rolled_back(view),
        ConditionType.PAUSED: _paused(view),
    }


def is_ready(view: View) -> bool:
    return serves(view) and view.unproven is None


def serves(view: View) -> bool:
    """Pods of this generation alone stand behind the Service.

    Before the controller has seen an apply, ready stays ready: scaling alone takes nothing from those who serve. While
    a pause holds an apply up, there is nothing to see. A pod says by an annotation of which generation it is, and a
    template that was changed by hand gives that to its pods too.
    """
    return (
        (view.accepted.status == "True" or bool(view.waiting))
        and view.replicas > 0
        and (view.settled or ((view.was_ready or bool(view.waiting)) and view.template_stands))
        and view.ready_current > 0
        and not view.older_pods_left
        and not view.stranger
    )


def is_complete(view: View) -> bool:
    """Every pod is of this generation and ready."""
    return (
        view.accepted.status == "True"
        and view.settled
        and view.pods == view.updated_pods == view.replicas == view.ready_current
        and not view.older_pods_left
    )


def _ready(view: View) -> Claim:
    if is_ready(view):
        return view.proven
    if view.waiting:
        return Claim("False", Reason.PAUSED, view.waiting)
    if view.accepted.status != "True":
        return view.accepted
    if view.replicas == 0:
        return Claim("False", Reason.SCALED_TO_ZERO, "spec.replicas is 0.")
    return view.unproven or _not_ready_yet(view)


def _not_ready_yet(view: View) -> Claim:
    if view.stranger:
        return _not_alone(view)
    if view.cause is not None:
        return Claim("False", view.cause.reason, view.cause.message)
    if view.settled and view.deadline_exceeded:
        return _stuck()
    if view.settled and view.rolled_out and view.ready_current == 0:
        return Claim("False", Reason.NO_PODS_READY, "No pod is ready.")
    return Claim("False", Reason.ROLLING_OUT, _rolling_out(view))


def _not_alone(view: View) -> Claim:
    return Claim(
        "False",
        Reason.SERVICE_UNREACHABLE,
        f"The Service leads to pod {view.stranger} too, which carries its labels and is not the Deployment's. Take the"
        f" label {MODEL_LABEL} from it, or delete it.",
    )


def _available(view: View) -> Claim:
    if view.ready_any > 0:
        whose = "of this generation" if view.ready_current > 0 else "of an older generation alone"
        return Claim("True", Reason.PODS_READY, f"At least one pod {whose} answers predictions.")
    if view.accepted.status == "True" and view.replicas == 0:
        return Claim("False", Reason.SCALED_TO_ZERO, "spec.replicas is 0.")
    return Claim("False", Reason.NO_PODS_READY, "No pod is ready.")


def _progressing(view: View) -> Claim:
    if view.waiting or view.accepted.status != "True":
        # While a pause holds changes up, the same is true of Accepted.
        return view.accepted
    if is_complete(view):
        return Claim("True", Reason.ROLLOUT_COMPLETE, "Every pod is of this generation and ready.")
    stuck = view.settled and view.deadline_exceeded
    if view.cause is not None and (stuck or not view.cause.heals):
        return Claim("False", view.cause.reason, view.cause.message)
    if stuck:
        return _stuck()
    return _on_its_way(view)


def _on_its_way(view: View) -> Claim:
    if view.replacing:
        return Claim("True", Reason.REPLACING_PODS, view.replacing)
    if view.cause is not None:
        return Claim("True", Reason.ROLLING_OUT, f"Waiting: {view.cause.message}")
    return Claim("True", Reason.ROLLING_OUT, _rolling_out(view))


def _stalled(view: View) -> Claim:
    """What says False of a change that will not go on by itself, said so that tools which wait give up."""
    for claim in (view.accepted, _progressing(view)):
        if claim.status == "False":
            return Claim("True", claim.reason, claim.message)
    return Claim("False", Reason.NOT_STALLED, "Nothing keeps this generation from going on.")


def _stuck() -> Claim:
    return Claim(
        "False",
        Reason.PROGRESS_DEADLINE_EXCEEDED,
        "No progress within spec.rollout.progressDeadlineSeconds, and no pod says why.",
    )


def _rolling_out(view: View) -> str:
    if view.ready_current > 0 and view.older_pods_left:
        return "Pods of this generation are ready; older pods are being replaced."
    return f"Pods of this generation are starting ({view.progress})." if view.progress else _STARTING


def _degraded(view: View) -> Claim:
    short = view.ready_current < view.replicas
    if view.cause is not None and short:
        return Claim("True", view.cause.reason, view.cause.message)
    if view.settled and view.deadline_exceeded and short:
        return Claim("True", Reason.PROGRESS_DEADLINE_EXCEEDED, _stuck().message)
    if view.settled and view.rolled_out and short and view.ready_current == 0:
        return Claim("True", Reason.NO_PODS_READY, "No pod is ready.")
    if view.stranger and view.replicas > 0:
        return Claim("True", Reason.SERVICE_UNREACHABLE, _not_alone(view).message)
    if view.unproven is not None and view.unproven.reason != Reason.VERIFYING:
        return Claim("True", view.unproven.reason, view.unproven.message)
    return Claim("False", Reason.AS_EXPECTED, "Nothing is known to keep pods of this generation from serving.")


def _scaling_limited(scaling: Scaling | None) -> Claim:
    if scaling is None:
        return Claim("Unknown", Reason.RECONCILING, "The spec cannot be read.")
    asked, wanted = scaling.asked, scaling.replicas
    if asked < wanted:
        return Claim(
            "True",
            Reason.TOO_FEW_REPLICAS,
            f"spec.replicas is {asked}, spec.autoscaling.minReplicas is {wanted}, which counts.",
        )
    if asked > wanted:
        return Claim(
            "True",
            Reason.TOO_MANY_REPLICAS,
            f"spec.replicas is {asked}, spec.autoscaling.maxReplicas is {wanted}, which counts.",
        )
    if scaling.bounded:
        return Claim("False", Reason.DESIRED_WITHIN_RANGE, "spec.replicas is within the bounds of spec.autoscaling.")
    return Claim("False", Reason.NO_BOUNDS, "spec.replicas is the number of pods; spec.autoscaling sets no bounds.")


def _rolled_back(view: View) -> Claim:
    if view.rolled_back:
        return Claim("True", Reason.ROLLBACK_REQUESTED, view.rolled_back)
    return Claim("False", Reason.SERVING_SPEC, "No other revision is served in place of the spec.")


def _paused(view: View) -> Claim:
    if view.paused:
        return Claim("True", Reason.PAUSED, view.waiting or "spec.paused is true: children are left as they are.")
    return Claim("False", Reason.ACTIVE, "spec.paused is false.")


def merged(
    claims: Mapping[ConditionType, Claim], previous: list[dict[str, Any]], *, generation: int, now: str
) -> list[dict[str, Any]]:
    """As a status holds them. The transition time is kept unless `status` changes."""
    known = {condition.get("type"): condition for condition in previous}
    found = []
    for kind, claim in claims.items():
        before = known.get(kind)
        unchanged = before is not None and before.get("status") == claim.status
        found.append(
            {
                "type": str(kind),
                "status": claim.status,
                "observedGeneration": generation,
                "lastTransitionTime": before["lastTransitionTime"] if before is not None and unchanged else now,
                "reason": str(claim.reason),
                "message": _cut(claim.message),
            }
        )
    return found


def _cut(message: str) -> str:
    return message if len(message) <= MESSAGE_LIMIT else f"{message[: MESSAGE_LIMIT - 1]}…"
