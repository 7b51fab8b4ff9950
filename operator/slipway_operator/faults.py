"""The status of a ModelDeployment whose pass met a fault of the operator itself. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from slipway_operator.api.reasons import ConditionType, Reason
from slipway_operator.conditions import Claim, merged
from slipway_operator.records import ModelRecord
from slipway_operator.status import Note, Status

_UNJUDGED: Final = (ConditionType.ACCEPTED, ConditionType.PROGRESSING)


@dataclass(frozen=True)
class Fault:
    """What to write, and what to tell."""

    status: Status
    notes: list[Note]


def fault(model: ModelRecord, previous: Status, what: str, now: str) -> Fault:
    """`what` is the error's class; its words stay in the log. What was known of this generation before still holds; of
    another one nothing is known."""
    claim = Claim(
        "Unknown",
        Reason.INTERNAL_ERROR,
        f"The operator failed on this object ({what}); its log has the traceback. It tries again every five minutes"
        " and with each change.",
    )
    same = previous.get("observedGeneration") == model.generation
    before: dict[Any, dict[str, Any]] = {item["type"]: item for item in previous.get("conditions") or []}
    claims = {}
    for kind in ConditionType:
        known = before.get(kind)
        unjudged = known is None or kind in _UNJUDGED or (kind is ConditionType.READY and not same)
        claims[kind] = claim if unjudged or known is None else _as_before(known)
    conditions = merged(claims, list(before.values()), generation=model.generation, now=now)
    told = (before.get(ConditionType.ACCEPTED) or {}).get("reason") == Reason.INTERNAL_ERROR
    return Fault(
        status=previous | {"observedGeneration": model.generation, "conditions": conditions},
        notes=[] if told else [Note("Warning", str(Reason.INTERNAL_ERROR), claim.message)],
    )


def _as_before(condition: dict[str, Any]) -> Claim:
    return Claim(condition["status"], condition["reason"], condition["message"])
