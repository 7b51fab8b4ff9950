"""Why a ModelDeployment does not serve: the worst cause across all of its pods and its Deployment. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from slipway_operator.api.reasons import Reason
from slipway_operator.failures import HEALING, Failure, worst
from slipway_operator.pod_causes import cause_of, has_ended, look_again_at, tidy
from slipway_operator.records import DeploymentState, PodRecord

_FORBIDDEN_POD: Final = re.compile(r'^pods "[^"]*" is forbidden: ')
_REPLICA_SET: Final = re.compile(r'^Failed to create new replica set "[^"]*": ')
_SERVERS_FAULT: Final = re.compile(
    r"failed calling webhook|Internal error occurred|timed? ?out|connection refused|serviceaccount .* not found"
)
"""A refusal that is about the cluster's moment, not about the pod."""
_NUMBERS: Final = re.compile(r"\d+")
_NUMBERS_ARE_THE_CAUSE: Final = frozenset({Reason.UNSCHEDULABLE, Reason.QUOTA_EXCEEDED})
"""How many nodes, how much of a quota: written by others only when it has changed."""


@dataclass(frozen=True)
class Diagnosis:
    """`worst` is None while nothing is known to be wrong; `look_again` says when time alone could change that."""

    worst: Failure | None
    look_again: datetime | None = None


def diagnose(
    pods: Iterable[PodRecord],
    deployment: DeploymentState | None,
    *,
    template_hash: str | None,
    short_of_pods: bool,
    started_seen: Mapping[str, datetime],
    now: datetime,
) -> Diagnosis:
    """`short_of_pods`: fewer are ready than were asked for. A pod that has ended for good matters only then.
    `started_seen`: when pods that are not ready were first seen to have started, by uid."""
    found: list[Failure] = []
    look_again: list[datetime] = []
    for pod in pods:
        if pod.ready:
            continue
        current = template_hash is not None and pod.template_hash == template_hash
        started = started_seen.get(pod.uid)
        failure = cause_of(pod, current=current, short_of_pods=short_of_pods, started_seen=started, now=now)
        if failure is not None:
            found.append(failure)
        due = look_again_at(pod, started, now) if (failure is None) != has_ended(pod) else None
        if due is not None:
            look_again.append(due)
    if deployment is not None:
        found += _of_deployment(deployment)
    return Diagnosis(worst(found), min(look_again, default=None))


def same_but_for_numbers(failure: Failure, message: str) -> bool:
    """Whether an earlier message says the same, so that it may stand."""
    if failure.reason in _NUMBERS_ARE_THE_CAUSE:
        return failure.message == message
    # The last line of a crash's log differs each time.
    return failure.reason == Reason.CRASHED or _NUMBERS.sub("#", failure.message) == _NUMBERS.sub("#", message)


def _of_deployment(deployment: DeploymentState) -> Iterator[Failure]:
    """Pods that could not even be created."""
    refused = deployment.conditions.get("ReplicaFailure")
    stuck = deployment.conditions.get("Progressing")
    if refused is not None and refused.status == "True":
        message = _FORBIDDEN_POD.sub("", refused.message)
    elif stuck is not None and (stuck.status, stuck.reason) == ("False", "ReplicaSetCreateError"):
        message = _REPLICA_SET.sub("", stuck.message)
    else:
        return
    reason = Reason.QUOTA_EXCEEDED if "exceeded quota" in message else Reason.POD_REFUSED
    yield Failure(
        stage="Schedule",
        reason=str(reason),
        message=tidy(message),
        heals=reason in HEALING or _SERVERS_FAULT.search(message) is not None,
        current=deployment.observed_generation >= deployment.generation,
    )
