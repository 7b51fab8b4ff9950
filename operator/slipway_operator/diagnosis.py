"""Why a ModelDeployment does not serve: the worst cause across all of its pods. Pure.

Messages hold no counters, times or back-offs, so that a status does not change while nothing else does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from slipway_operator.api.reasons import Reason
from slipway_operator.names import RUNTIME_CONTAINER
from slipway_operator.records import DeploymentState, PodRecord
from slipway_operator.redaction import redacted
from slipway_runtime.contract import FailureReason, TerminationMessage

PROBE_GRACE: Final = timedelta(seconds=20)
"""A started container that is not ready for this long fails its readiness probe."""
MOUNT_GRACE: Final = timedelta(seconds=30)
"""A pod on a node whose volumes are not mounted for this long lacks one of them."""
MESSAGE_LIMIT: Final = 1024
"""Characters."""

_PULL_REASONS: Final = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_START_REASONS: Final = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError", "StartError"}
)
_PULL_CANNOT_HEAL: Final = re.compile(
    r"not found|manifest unknown|unauthorized|authentication required|denied|forbidden|invalid reference"
    r"|couldn't parse|no match for platform|InvalidImageName|ErrImageNeverPull",
    re.IGNORECASE,
)
_BACK_OFF: Final = re.compile(r'^Back-off pulling image "[^"]*"(: [A-Za-z]+: )?')
_FORBIDDEN_POD: Final = re.compile(r'^pods "[^"]*" is forbidden: ')
_TIMESTAMP: Final = re.compile(r"\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?\]?[:\s]*")

_HEALING: Final = frozenset(
    {
        FailureReason.ARTIFACT_UNREACHABLE,
        FailureReason.ARTIFACT_STALLED,
        FailureReason.INTERNAL_ERROR,
        Reason.UNSCHEDULABLE,
        Reason.QUOTA_EXCEEDED,
        Reason.CRASHED,
        Reason.EVICTED,
        Reason.PROBE_FAILING,
    }
)
"""Causes that may pass without anybody changing this object: the network, other users of the cluster, chance."""


@dataclass(frozen=True)
class Failure:
    """One cause, on one pod or on the Deployment as a whole."""

    stage: str
    reason: str
    message: str
    heals: bool
    current: bool
    """Of this generation."""
    pod: str | None = None
    exit_code: int | None = None

    @property
    def container(self) -> str | None:
        return RUNTIME_CONTAINER if self.exit_code is not None else None


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
    now: datetime,
) -> Diagnosis:
    """`short_of_pods`: fewer are ready than were asked for. A pod that has ended for good matters only then."""
    found: list[Failure] = []
    look_again: list[datetime] = []
    for pod in pods:
        if pod.deleting or pod.ready:
            continue
        current = template_hash is not None and pod.template_hash == template_hash
        failure = _of_pod(pod, current=current, short_of_pods=short_of_pods, now=now)
        if failure is not None:
            found.append(failure)
        elif (since := _unready_since(pod)) is not None:
            look_again.append(since + PROBE_GRACE)
        elif (since := _unmounted_since(pod)) is not None:
            look_again.append(since + MOUNT_GRACE)
    if deployment is not None:
        found += _of_deployment(deployment)
    worst = min(found, key=lambda item: (not item.current, item.heals, item.reason, item.pod or ""), default=None)
    return Diagnosis(worst, min(look_again, default=None))


@dataclass(frozen=True)
class _Cause:
    stage: str
    reason: str
    message: str
    heals: bool | None = None
    """None: as the reason does in general."""
    exit_code: int | None = None


def _of_pod(pod: PodRecord, *, current: bool, short_of_pods: bool, now: datetime) -> Failure | None:
    """The first that holds, in the order in which a pod comes to life."""
    if pod.phase == "Failed" and pod.terminated is None:
        cause = _ended_for_good(pod) if short_of_pods else None
    else:
        cause = (
            _unscheduled(pod) or _unmounted(pod, now) or _waiting(pod) or _terminated(pod) or _probe_failing(pod, now)
        )
    if cause is None:
        return None
    return Failure(
        stage=str(cause.stage),
        reason=str(cause.reason),
        message=_tidy(cause.message),
        heals=cause.reason in _HEALING if cause.heals is None else cause.heals,
        current=current,
        pod=pod.name,
        exit_code=cause.exit_code,
    )


def _tidy(message: str) -> str:
    text = redacted(" ".join(message.split()))
    return text if len(text) <= MESSAGE_LIMIT else f"{text[: MESSAGE_LIMIT - 1]}…"


def _ended_for_good(pod: PodRecord) -> _Cause:
    reason = Reason.EVICTED if pod.reason == "Evicted" else Reason.POD_REFUSED
    return _Cause("Schedule", reason, f"{pod.reason}: {pod.message}" if pod.reason else pod.message)


def _unscheduled(pod: PodRecord) -> _Cause | None:
    scheduled = pod.conditions.get("PodScheduled")
    if scheduled is None or scheduled.status != "False":
        return None
    return _Cause("Schedule", Reason.UNSCHEDULABLE, scheduled.message or scheduled.reason)


def _unmounted(pod: PodRecord, now: datetime) -> _Cause | None:
    since = _unmounted_since(pod)
    if since is None or now < since + MOUNT_GRACE:
        return None
    if pod.mounted_objects:
        message = f"The pod's volumes are not mounted. Check that these exist: {', '.join(pod.mounted_objects)}."
        return _Cause("Start", Reason.CONTAINER_CONFIG_ERROR, message)
    message = "The pod's volumes or its network are not set up. Its events say why: kubectl describe pods"
    return _Cause("Start", Reason.CONTAINER_CONFIG_ERROR, message, heals=True)


def _unmounted_since(pod: PodRecord) -> datetime | None:
    """Since when the pod waits on its node for volumes and network; None when it has them."""
    prepared = pod.conditions.get("PodReadyToStartContainers")
    waits = prepared is not None and prepared.status == "False" and pod.waiting_reason == "ContainerCreating"
    return pod.scheduled_since if waits else None


def _waiting(pod: PodRecord) -> _Cause | None:
    if pod.waiting_reason in _PULL_REASONS:
        said = _BACK_OFF.sub("", pod.waiting_message)
        cannot_heal = _PULL_CANNOT_HEAL.search(f"{pod.waiting_reason} {pod.waiting_message}") is not None
        return _Cause(
            "ImagePull", Reason.IMAGE_PULL_FAILED, said or "The image cannot be pulled.", heals=not cannot_heal
        )
    if pod.waiting_reason in _START_REASONS:
        return _Cause("Start", Reason.CONTAINER_CONFIG_ERROR, pod.waiting_message or pod.waiting_reason)
    return None


def _terminated(pod: PodRecord) -> _Cause | None:
    ended = pod.terminated
    if ended is None:
        return None
    if ended.reason == "OOMKilled":
        message = (
            f"The kernel killed the container at its memory limit (exit code {ended.exit_code})."
            " Raise spec.resources.limits.memory."
        )
        return _Cause("Start", Reason.OUT_OF_MEMORY_KILLED, message, exit_code=ended.exit_code)
    told = TerminationMessage.decode(ended.message)
    if told is not None:
        return _Cause(told.stage, told.reason, told.message, exit_code=ended.exit_code)
    line = _last_line(ended.message)
    if ended.reason in _START_REASONS or ended.reason == "ContainerCannotRun":
        return _Cause("Start", Reason.CONTAINER_CONFIG_ERROR, line or ended.reason, exit_code=ended.exit_code)
    words = f"The container ended with exit code {ended.exit_code}"
    message = f"{words}: {line}" if line else f"{words} and left no message."
    return _Cause("Start", Reason.CRASHED, message, exit_code=ended.exit_code)


def _probe_failing(pod: PodRecord, now: datetime) -> _Cause | None:
    since = _unready_since(pod)
    if since is None or now < since + PROBE_GRACE:
        return None
    return _Cause("Serve", Reason.PROBE_FAILING, "The container runs and its readiness probe fails.")


def _unready_since(pod: PodRecord) -> datetime | None:
    """Since when a container that has started is not ready; None when it has not started."""
    if pod.running_since is None or not pod.started or pod.ready:
        return None
    return max(pod.running_since, pod.ready_changed or pod.running_since)


def _last_line(text: str) -> str:
    """What the last line says, without its time."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    try:
        record = json.loads(lines[-1])
    except ValueError:
        record = None
    if isinstance(record, dict):
        for name in ("message", "msg", "event"):
            if isinstance(record.get(name), str):
                return str(record[name])
    return _TIMESTAMP.sub("", lines[-1])


def _of_deployment(deployment: DeploymentState) -> Iterator[Failure]:
    """Pods that could not even be created."""
    refused = deployment.conditions.get("ReplicaFailure")
    if refused is None or refused.status != "True":
        return
    message = _FORBIDDEN_POD.sub("", refused.message)
    reason = Reason.QUOTA_EXCEEDED if "exceeded quota" in message else Reason.POD_REFUSED
    yield Failure(
        stage="Schedule",
        reason=str(reason),
        message=_tidy(message),
        heals=reason in _HEALING,
        current=deployment.observed_generation >= deployment.generation,
    )
