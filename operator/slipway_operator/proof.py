"""What follows from inquiries for the conditions: whether Ready is proven, and what is known of the artifact. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from slipway_operator.api.reasons import Reason
from slipway_operator.conditions import Claim
from slipway_operator.failures import Failure
from slipway_operator.names import RUNTIME_CONTAINER
from slipway_operator.records import PodRecord
from slipway_operator.verification import Look, Question, Verdict, is_verified, look_at, marked
from slipway_runtime.contract import RuntimeStatus, Stage

_VERIFYING: Final = Claim(
    "False", Reason.VERIFYING, "Pods of this generation are ready; a prediction through their Service is under way."
)
_ANSWERED: Final = Claim("True", Reason.PREDICTIONS_ANSWERED, "Pods of this generation answer predictions.")
_BEFORE: Final = Claim(
    "True",
    Reason.PREDICTIONS_ANSWERED,
    "It was ready before predictions were sent through Services; the first one is under way.",
)
_NOT_ASKING: Final = "this installation asks no Service (operator.verifyPredictions)"
_ARTIFACT_STAGES: Final = frozenset({Stage.FETCH, Stage.VERIFY})


@dataclass(frozen=True)
class Proof:
    """Empty where nothing needs to be proven."""

    claim: Claim | None = None
    """While nothing is proven: what Ready says."""
    ready: Claim = _ANSWERED
    """What Ready says otherwise."""
    question: Question | None = None
    """What remains to be asked."""
    verified: Question | None = None
    """What was answered."""

    @property
    def failure(self) -> Failure | None:
        """What came of it, where pods are well and the way to them is not."""
        if self.claim is None or self.claim == _VERIFYING:
            return None
        return Failure("Serve", str(self.claim.reason), self.claim.message, heals=True, current=True)


def unasked(*, custom: bool, example: bool, asks: bool) -> Proof:
    """What Ready rests on where nothing is sent through the Service. `example`: the spec says what could be sent."""
    if custom:
        answered = "Pods of this generation answer their readiness path, and nothing else was asked of them"
        why = (
            f": {_NOT_ASKING}."
            if example
            else ". Say in spec.runtime.container.prediction what one prediction looks like, and Ready rests on that."
        )
        return Proof(ready=Claim("True", Reason.READINESS_ANSWERED, answered + why))
    why = "these pods are not told their revision" if asks else _NOT_ASKING
    return Proof(
        ready=Claim(
            "True",
            Reason.PREDICTIONS_ANSWERED,
            "Each pod of this generation answered a prediction of its own making; none went through the Service:"
            f" {why}.",
        )
    )


def astray(service: str, path: str | None) -> Proof:
    """The Service is not there, or was changed by hand at `path` and is not put back."""
    what = "does not exist" if path is None else f"was changed at {path}"
    return Proof(
        Claim("False", Reason.SERVICE_UNREACHABLE, f"The Service {service} {what}, so it does not lead to the pods.")
    )


def prove(question: Question | None, verdict: Verdict | None, previous: Mapping[str, Any], *, was_ready: bool) -> Proof:
    """`question` is what would prove it; None while there is nobody to ask. `previous` is the last status, and
    `was_ready` whether it said so of this very generation."""
    if question is None:
        return Proof(_VERIFYING)
    answered = verdict is not None and verdict.question == question
    if is_verified(question, previous) or (verdict is not None and answered and verdict.holds):
        return Proof(verified=question)
    if verdict is not None and answered:
        return Proof(Claim("False", verdict.reason, verdict.message), question=question)
    if was_ready and question.example is None and "verification" not in previous:
        # Ready before anybody asked: by an older operator, or while the installation did not. It stays so until the
        # answer is there.
        return Proof(ready=_BEFORE, question=question)
    return Proof(_VERIFYING, question=marked(question, previous))


def pod_to_look_at(pods: Iterable[PodRecord], revision: str | None, *, known: bool) -> Look | None:
    """One of this revision that is on its way, else, while the artifact is not known, one that serves."""
    mine = [pod for pod in pods if pod.template_hash == revision and pod.address and not pod.deleting]
    starting = next((pod for pod in mine if _is_starting(pod)), None)
    serving = None if known else next((pod for pod in mine if pod.ready), None)
    found = starting or serving
    return look_at(found) if found is not None else None


def percent_fetched(told: RuntimeStatus | None, artifact: Mapping[str, Any]) -> str:
    """In words, how far the pod has come that was looked at; empty when it told nothing of this revision."""
    if told is None or told.revision != artifact.get("revision") or told.stage is Stage.SERVE:
        return ""
    size, received = artifact.get("sizeBytes"), artifact.get("downloadedBytes")
    if told.stage is not Stage.FETCH or not size or received is None:
        return str(told.stage)
    return f"{told.stage}, {100 * received // size} %"


def artifact_claim(artifact: Mapping[str, Any], cause: Failure | None, *, pinned: str | None) -> Claim:
    """`pinned`: the digest that the spec asks for, where pods that checked it are ready."""
    digest = artifact.get("digest") or pinned
    if digest:
        return Claim("True", Reason.ARTIFACT_VERIFIED, f"The artifact is {digest}.")
    if cause is not None and cause.stage in _ARTIFACT_STAGES:
        return Claim("False", cause.reason, cause.message)
    return Claim("Unknown", Reason.RECONCILING, "No pod of this generation has told the artifact's digest.")


def _is_starting(pod: PodRecord) -> bool:
    return (
        not pod.ready
        and not pod.started
        and pod.phase == "Running"
        and pod.container == RUNTIME_CONTAINER
        and pod.running_since is not None
    )
