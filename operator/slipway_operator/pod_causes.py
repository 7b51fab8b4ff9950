"""Why one pod is not ready, as its status tells. Pure.

Messages hold no counters, times or back-offs, so that a status does not change while nothing else does.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from slipway_operator.api.reasons import Reason
from slipway_operator.api.status import REVISION_LIMIT
from slipway_operator.failures import HEALING, Failure
from slipway_operator.names import RUNTIME_CONTAINER
from slipway_operator.records import PodRecord
from slipway_operator.redaction import redacted
from slipway_runtime.contract import TerminationMessage

PROBE_GRACE: Final = timedelta(seconds=20)
"""A started container that is not ready for this long fails its readiness probe."""
MOUNT_GRACE: Final = timedelta(seconds=30)
"""A pod on a node whose volumes are not mounted for this long lacks one of them."""
ENDED_MEMORY: Final = timedelta(minutes=10)
"""A pod that has ended for good lies about until the cluster clears it away; after this long it explains nothing."""
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
_PREEMPTION: Final = re.compile(r",? *(no new claims to deallocate|preemption: ).*$", re.DOTALL)
"""What the scheduler says after the causes: that sending other pods away would not help either."""
_TIMESTAMP: Final = re.compile(r"\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?\]?[:\s]*")
_NODES_DOING: Final = "The node ended the pod. The pod's events say why: kubectl describe pods"
"""The kubelet's reason does not outlive a container that ends well when it is told to."""
_SENT_AWAY: Final = frozenset({"Evicted", "Preempting", "Preempted", "NodeShutdown", "Shutdown", "Terminated"})
"""Reasons of a pod that the kubelet ended after it had taken it."""


@dataclass(frozen=True)
class _Cause:
    stage: str
    reason: str
    message: str
    heals: bool | None = None
    """None: as the reason does in general."""
    exit_code: int | None = None


def cause_of(
    pod: PodRecord, *, current: bool, short_of_pods: bool, started_seen: datetime | None, now: datetime
) -> Failure | None:
    """The first that holds, in the order in which a pod comes to life. `started_seen`: when the pod was first seen to
    have started, which its status does not tell."""
    if has_ended(pod):
        cause = _ended_for_good(pod, now) if short_of_pods else None
    else:
        cause = (
            _unscheduled(pod)
            or _node_lost(pod)
            or _unmounted(pod, now)
            or _waiting(pod)
            or _terminated(pod)
            or _probe_failing(pod, started_seen, now)
        )
    if cause is None:
        return None
    in_container = cause.exit_code is not None or pod.container != RUNTIME_CONTAINER
    return Failure(
        stage=str(cause.stage),
        reason=str(cause.reason),
        message=tidy(cause.message),
        heals=cause.reason in HEALING if cause.heals is None else cause.heals,
        current=current,
        pod=pod.name,
        container=pod.container if in_container else None,
        revision=pod.template_hash if len(pod.template_hash or "") <= REVISION_LIMIT else None,
        exit_code=cause.exit_code,
    )


def has_ended(pod: PodRecord) -> bool:
    """For good. Pods of a Deployment are restarted for ever: one that has ended, even well, was ended by its node."""
    return pod.phase in ("Failed", "Succeeded") or pod.deleting


def look_again_at(pod: PodRecord, started_seen: datetime | None, now: datetime) -> datetime | None:
    """When time alone could show that something is wrong with a pod that has no cause now, or right again."""
    if has_ended(pod):
        return (
            pod.ready_changed + ENDED_MEMORY if pod.ready_changed and now < pod.ready_changed + ENDED_MEMORY else None
        )
    if (since := _unready_since(pod, started_seen)) is not None:
        return since + PROBE_GRACE
    if (since := _unmounted_since(pod)) is not None:
        return since + MOUNT_GRACE
    return None


def tidy(message: str) -> str:
    """On one line, without secrets, not too long."""
    text = redacted(" ".join(message.split()))
    return text if len(text) <= MESSAGE_LIMIT else f"{text[: MESSAGE_LIMIT - 1]}…"


def _ended_for_good(pod: PodRecord, now: datetime) -> _Cause | None:
    if pod.reason == "NodeLost":
        return _Cause("Serve", Reason.NODE_LOST, pod.message or "The pod's node does not answer.")
    if pod.deleting or (pod.ready_changed is not None and now >= pod.ready_changed + ENDED_MEMORY):
        return None
    said = f"{pod.reason}: {pod.message}" if pod.reason else pod.message or _NODES_DOING
    if pod.reason in _SENT_AWAY or not pod.reason:
        return _Cause("Serve", Reason.EVICTED, said)
    # The kubelet's own admission; the next pod may go to another node.
    return _Cause("Schedule", Reason.POD_REFUSED, said, heals=True)


def _unscheduled(pod: PodRecord) -> _Cause | None:
    scheduled = pod.conditions.get("PodScheduled")
    if scheduled is None or scheduled.status != "False":
        return None
    said = _PREEMPTION.sub("", scheduled.message).strip()
    return _Cause("Schedule", Reason.UNSCHEDULABLE, said or scheduled.reason)


def _node_lost(pod: PodRecord) -> _Cause | None:
    """The node lifecycle controller takes the readiness of a lost node's pods away, and nothing else of their status;
    the kubelet would give a reason."""
    ready, containers = pod.conditions.get("Ready"), pod.conditions.get("ContainersReady")
    if ready is None or containers is None or (ready.status, containers.status) != ("False", "True"):
        return None
    if ready.reason:
        return None
    where = f"node {pod.node}" if pod.node else "the pod's node"
    return _Cause("Serve", Reason.NODE_LOST, f"The kubelet of {where} does not answer: kubectl describe nodes")


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
        return _Cause(told.stage, told.reason, _told(told), exit_code=ended.exit_code)
    line = _last_line(ended.message)
    if ended.reason in _START_REASONS or ended.reason == "ContainerCannotRun":
        return _Cause("Start", Reason.CONTAINER_CONFIG_ERROR, line or ended.reason, exit_code=ended.exit_code)
    words = f"The container ended with exit code {ended.exit_code}"
    message = f"{words}: {line}" if line else f"{words} and left no message."
    return _Cause("Start", Reason.CRASHED, message, exit_code=ended.exit_code)


def _told(message: TerminationMessage) -> str:
    if not message.fetched_bytes:
        return message.message
    whole = "an unknown size" if message.artifact_bytes is None else f"{message.artifact_bytes} bytes"
    return f"{message.message} Received {message.fetched_bytes} bytes of {whole}."


def _probe_failing(pod: PodRecord, started_seen: datetime | None, now: datetime) -> _Cause | None:
    since = _unready_since(pod, started_seen)
    if since is None or now < since + PROBE_GRACE:
        return None
    what = "The container" if pod.container == RUNTIME_CONTAINER else f"The container {pod.container}"
    return _Cause("Serve", Reason.PROBE_FAILING, f"{what} runs and its readiness probe fails.")


def is_started_and_unready(pod: PodRecord) -> bool:
    return pod.running_since is not None and pod.started and not pod.ready


def _unready_since(pod: PodRecord, started_seen: datetime | None) -> datetime | None:
    """Since when a container that has started is not ready; None when it has not started. A long start is no part of
    it, and the readiness probe first runs after it."""
    if pod.running_since is None or not is_started_and_unready(pod):
        return None
    return max(pod.running_since, pod.ready_changed or pod.running_since, started_seen or pod.running_since)


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
