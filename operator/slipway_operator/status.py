"""The status of a ModelDeployment and the events that its changes are worth. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from slipway_operator.api.reasons import ConditionType, Reason
from slipway_operator.api.v1alpha1 import ModelDeploymentSpec, Traffic
from slipway_operator.conditions import Claim, View, is_complete, is_ready, judge, merged, serves
from slipway_operator.diagnosis import Diagnosis, diagnose, same_but_for_numbers
from slipway_operator.failures import Failure
from slipway_operator.listeners import GatewaySight
from slipway_operator.names import selector_labels
from slipway_operator.proof import Proof, artifact_claim, astray, percent_fetched, pod_to_look_at, prove, unasked
from slipway_operator.records import ChildRecord, DeploymentState, ModelRecord, PodRecord
from slipway_operator.render.custom import contract_of, is_custom
from slipway_operator.render.manifest import stable_hash
from slipway_operator.render.service import is_encrypted, service_exposure
from slipway_operator.resources import DEPLOYMENT, HTTP_ROUTE, INGRESS, SERVICE, ChildRef
from slipway_operator.revisions import Chosen, revision_status, rolled_back_to
from slipway_operator.route_proof import RouteProof, prove_route
from slipway_operator.route_verification import RouteQuestion, RouteVerdict
from slipway_operator.routes import find_route
from slipway_operator.scaling import scaling, wanted_replicas
from slipway_operator.verification import Example, Inquiry, Verdict, artifact_status, question_for, verification_status
from slipway_runtime.contract import RuntimeStatus

Status = dict[str, Any]

_USUAL_PORTS: Final = {"http": 80, "https": 443}
_QUIET: Final = frozenset(
    {
        Reason.ACTIVE,
        Reason.RECONCILING,
        Reason.SERVICE_ONLY,
        Reason.NO_PODS_READY,
        Reason.PODS_READY,
        Reason.ADDRESS_PENDING,
        Reason.ROUTE_PENDING,
        Reason.SERVING_SPEC,
        Reason.DESIRED_WITHIN_RANGE,
        Reason.NO_BOUNDS,
        Reason.NOT_STALLED,
        Reason.VERIFYING,
        Reason.AS_EXPECTED,
        Reason.ARTIFACT_VERIFIED,
    }
)
"""Passing states, and what another condition tells better."""
_NORMAL: Final = frozenset(
    {
        Reason.VALID,
        Reason.PREDICTIONS_ANSWERED,
        Reason.READINESS_ANSWERED,
        Reason.ROLLING_OUT,
        Reason.ROLLOUT_COMPLETE,
        Reason.SCALED_TO_ZERO,
        Reason.ADDRESS_ASSIGNED,
        Reason.ROUTE_ACCEPTED,
        Reason.PAUSED,
        Reason.ROLLBACK_REQUESTED,
        Reason.TOO_FEW_REPLICAS,
        Reason.TOO_MANY_REPLICAS,
    }
)


@dataclass(frozen=True)
class Note:
    """One event. `type` is Normal or Warning."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True)
class Report:
    status: Status
    notes: list[Note]
    look_again_seconds: float | None
    inquiry: Inquiry | None
    """What is to be asked of the Service or of a pod."""
    route_question: RouteQuestion | None = None
    """What is to be asked of the way in from outside."""


@dataclass(frozen=True)
class Situation:
    """What the status is made of. `spec` is None when it could not be read."""

    model: ModelRecord
    spec: ModelDeploymentSpec | None
    accepted: Claim
    waiting: str
    """What the pause holds up, in a sentence; empty when nothing is."""
    chosen: Chosen | None
    """The revision that is to be served; None while nothing may be touched."""
    replacing: str
    """In a sentence, why old pods end before their successors start; empty while they do not."""
    template_hash: str | None
    settled: bool
    children: Mapping[ChildRef, ChildRecord]
    pods: list[PodRecord]
    previous: Status
    now: datetime
    gateway_api: GatewaySight = field(default_factory=GatewaySight)
    asks: bool = False
    """The installation lets Services and pods be asked."""
    names_revision: bool = False
    """These pods are told their revision, and name it when they are asked."""
    template_stands: bool = True
    """The live Deployment makes its pods from our template."""
    service_changed: str | None = None
    """Where the live Service does not say what we rendered."""
    strangers: list[PodRecord] = field(default_factory=list)
    """Pods that the Service selects and that are not the Deployment's."""
    started_seen: Mapping[str, datetime] = field(default_factory=dict)
    """When pods that are not ready were first seen to have started, by uid."""
    asks_routes: bool = False
    """The same for the ways in from outside, where pods name their revision."""
    verdict: Verdict | None = None
    route_verdict: RouteVerdict | None = None
    told: RuntimeStatus | None = None
    """What a pod told of itself last."""

    @property
    def name(self) -> str:
        return self.model.key.name

    @property
    def replicas(self) -> int:
        return wanted_replicas(self.spec) if self.spec is not None else int(self.model.spec.get("replicas", 1))

    @property
    def own(self) -> dict[ChildRef, ChildRecord]:
        return {ref: live for ref, live in self.children.items() if live.belongs_to(self.model.uid)}

    @property
    def deployment(self) -> DeploymentState | None:
        live = self.own.get(ChildRef(DEPLOYMENT.kind, self.name))
        return live.deployment if live is not None else None

    @property
    def serving(self) -> list[PodRecord]:
        return [pod for pod in self.pods if pod.ready and not pod.deleting]

    @property
    def ready_current(self) -> int:
        if self.template_hash is None:
            return 0
        return sum(pod.template_hash == self.template_hash for pod in self.serving)


def report(situation: Situation) -> Report:
    diagnosis = _diagnosis(situation)
    route = _route(situation)
    artifact = _artifact(situation)
    view = _view(situation, diagnosis, route, artifact)
    proof = _proof(situation, view)
    view = replace(view, unproven=proof.claim, proven=proof.ready)
    claims = judge(view)
    previous = situation.previous.get("conditions") or []
    now = situation.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    deployment = situation.deployment
    status: Status = {
        "observedGeneration": situation.model.generation,
        "conditions": merged(claims, previous, generation=situation.model.generation, now=now),
        "replicas": deployment.replicas if deployment else 0,
        "readyReplicas": len(situation.serving),
        "desiredReplicas": situation.replicas,
        "selector": ",".join(f"{name}={value}" for name, value in selector_labels(situation.name).items()),
        "replicaSummary": f"{situation.ready_current}/{situation.replicas}",
        "url": route.url,
        "internalURL": _internal_url(situation),
        "artifact": artifact or None,
        "verification": verification_status(proof.verified, situation.previous, now) if proof.verified else None,
        "lastFailure": _last_failure(situation, diagnosis.worst or proof.failure, ready=is_ready(view), now=now),
    }
    status |= revision_status(situation.chosen, situation.previous, complete=is_complete(view) and is_ready(view))
    return Report(
        status={name: value for name, value in status.items() if value is not None},
        notes=_notes(claims, previous),
        look_again_seconds=_look_again_seconds(diagnosis, situation.now),
        inquiry=_inquiry(situation, proof, artifact),
        # Behind a Service that does not answer no route can.
        route_question=route.question if proof.question is None else None,
    )


def _look_again_seconds(diagnosis: Diagnosis, now: datetime) -> float | None:
    return max((diagnosis.look_again - now).total_seconds(), 0.0) + 1 if diagnosis.look_again is not None else None


def _artifact(situation: Situation) -> Status:
    told = situation.verdict.facts if situation.verdict is not None and situation.verdict.facts else situation.told
    return artifact_status(told, situation.template_hash, situation.previous)


def _proof(situation: Situation, view: View) -> Proof:
    spec, revision = situation.spec, situation.template_hash
    if spec is None or revision is None or not serves(view):
        return Proof()
    service, example = situation.own.get(ChildRef(SERVICE.kind, situation.name)), _example(spec)
    if service is None:
        return astray(situation.name, None)
    if not situation.asks or (example is None and not situation.names_revision):
        if situation.service_changed is not None:
            return astray(situation.name, situation.service_changed)
        return unasked(custom=is_custom(spec), example=example is not None, asks=situation.asks)
    question = question_for(
        service,
        port=service_exposure(spec).port,
        encrypted=is_encrypted(spec),
        revision=revision,
        timeout_seconds=_longest_prediction_seconds(spec),
        example=example,
    )
    same = situation.previous.get("observedGeneration") == situation.model.generation
    return prove(question, situation.verdict, situation.previous, was_ready=view.was_ready and same)


def _example(spec: ModelDeploymentSpec) -> Example | None:
    given = contract_of(spec).prediction if is_custom(spec) else None
    return Example(given.path, given.body, given.content_type) if given is not None else None


def _longest_prediction_seconds(spec: ModelDeploymentSpec) -> float:
    return (spec.traffic or Traffic()).request_timeout_seconds


def _inquiry(situation: Situation, proof: Proof, artifact: Status) -> Inquiry | None:
    if proof.question is not None or not (situation.asks and situation.names_revision):
        return proof.question
    return pod_to_look_at(situation.pods, situation.template_hash, known="format" in artifact)


def _diagnosis(situation: Situation) -> Diagnosis:
    found = diagnose(
        situation.pods,
        situation.deployment,
        template_hash=situation.template_hash,
        short_of_pods=situation.ready_current < situation.replicas,
        started_seen=situation.started_seen,
        now=situation.now,
    )
    return replace(found, worst=_steadied(found.worst, situation)) if found.worst else found


def _steadied(failure: Failure, situation: Situation) -> Failure:
    """A message that differs from the last one in numbers alone is not written again: the first one seen stands for all
    of this generation."""
    known = situation.previous.get("lastFailure") or {}
    same = (
        known.get("reason") == failure.reason
        and known.get("exitCode") == failure.exit_code
        and situation.previous.get("observedGeneration") == situation.model.generation
        and _may_be_of(known, failure)
        and same_but_for_numbers(failure, known["message"])
    )
    return replace(failure, message=known["message"]) if same else failure


def _view(situation: Situation, diagnosis: Diagnosis, route: RouteProof, artifact: Status) -> View:
    deployment = situation.deployment
    progressing = deployment.conditions.get("Progressing") if deployment else None
    worst = diagnosis.worst
    return View(
        accepted=situation.accepted,
        rolled_back=rolled_back_to(situation.chosen),
        replacing=situation.replacing,
        paused=situation.spec is not None and situation.spec.paused,
        waiting=situation.waiting,
        scaling=scaling(situation.spec) if situation.spec is not None else None,
        replicas=situation.replicas,
        settled=situation.settled,
        template_stands=situation.template_stands,
        stranger=next((pod.name for pod in situation.strangers if pod.ready and not pod.deleting), ""),
        was_ready=any(
            item.get("type") == ConditionType.READY and item.get("status") == "True"
            for item in situation.previous.get("conditions") or []
        ),
        pods=deployment.replicas if deployment else 0,
        updated_pods=deployment.updated_replicas if deployment else 0,
        ready_current=situation.ready_current,
        ready_any=len(situation.serving),
        older_pods_left=_older_pods_left(situation, deployment),
        cause=worst if worst is not None and worst.current else None,
        rolled_out=progressing is not None and progressing.reason == "NewReplicaSetAvailable",
        deadline_exceeded=progressing is not None and progressing.reason == "ProgressDeadlineExceeded",
        artifact=artifact_claim(
            artifact,
            worst if worst is not None and worst.current else None,
            pinned=situation.spec.artifact.digest if situation.spec is not None and situation.ready_current else None,
        ),
        progress=percent_fetched(situation.told, artifact),
        unproven=None,
        proven=Proof().ready,
        route=route.claim,
    )


def _older_pods_left(situation: Situation, deployment: DeploymentState | None) -> bool:
    if any(pod.template_hash != situation.template_hash for pod in situation.serving):
        return True
    # A template changed by hand and put back has our hash on its pods; the controller tells them apart.
    return deployment is not None and deployment.replicas != deployment.updated_replicas


def _route(situation: Situation) -> RouteProof:
    spec = situation.spec
    if spec is None:
        claim = Claim("Unknown", Reason.RECONCILING, "The spec cannot be read.")
        return RouteProof(claim, situation.previous.get("url"))
    found = find_route(situation.model.key, spec, situation.own, situation.gateway_api)
    if not (situation.asks and situation.names_revision and situation.asks_routes):
        return RouteProof(found.claim, found.url)
    return prove_route(
        found,
        situation.route_verdict,
        situation.previous,
        revisions=frozenset(filter(None, (pod.template_hash for pod in situation.serving))),
        timeout_seconds=_longest_prediction_seconds(spec),
        identity=stable_hash([[live.uid, live.body.get("spec")] for live in _route_children(situation)]),
    )


def _route_children(situation: Situation) -> list[ChildRecord]:
    refs = [ChildRef(resource.kind, situation.name) for resource in (HTTP_ROUTE, INGRESS, SERVICE)]
    return [situation.own[ref] for ref in refs if ref in situation.own][:1]


def _internal_url(situation: Situation) -> str | None:
    if situation.spec is None:
        return situation.previous.get("internalURL")
    port = service_exposure(situation.spec).port
    authority = f"{situation.name}.{situation.model.key.namespace}.svc"
    scheme = "https" if is_encrypted(situation.spec) else "http"
    usual = _USUAL_PORTS[scheme] == port
    return f"{scheme}://{authority}/" if usual else f"{scheme}://{authority}:{port}/"


def _last_failure(situation: Situation, worst: Failure | None, *, ready: bool, now: str) -> Status | None:
    previous: Status | None = situation.previous.get("lastFailure")
    if worst is None:
        return None if ready or situation.replicas == 0 else previous
    found: Status = {
        "stage": str(worst.stage),
        "reason": str(worst.reason),
        "message": worst.message,
        "pod": worst.pod,
        "container": worst.container,
        "revision": worst.revision,
        "exitCode": worst.exit_code,
    }
    found = {name: value for name, value in found.items() if value is not None}
    same = (
        previous is not None
        and (previous["reason"], previous["message"]) == (found["reason"], found["message"])
        and _may_be_of(previous, worst)
    )
    return found | {"time": previous["time"] if previous is not None and same else now}


def _may_be_of(known: Status, failure: Failure) -> bool:
    """Whether a failure that was told before is of the same pods. An operator that did not tell whose it was left no
    revision."""
    return known.get("revision") in (None, failure.revision)


def _notes(claims: Mapping[ConditionType, Claim], previous: list[Status]) -> list[Note]:
    """One for each new reason, however many conditions give it."""
    known = {(item.get("type"), item.get("status"), item.get("reason")) for item in previous}
    told = {item.get("reason") for item in previous}
    found: dict[str, Note] = {}
    for kind, claim in claims.items():
        if (str(kind), claim.status, str(claim.reason)) in known or claim.reason in _QUIET:
            continue
        if claim.reason in told and claim.reason not in _NORMAL:
            # Another condition gave this reason already, and told it.
            continue
        kind_of_event = "Normal" if claim.reason in _NORMAL else "Warning"
        found.setdefault(str(claim.reason), Note(kind_of_event, str(claim.reason), claim.message))
    return list(found.values())
