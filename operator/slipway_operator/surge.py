"""Whether a rollout may begin with a pod more, or an old pod must end first because no GPU is free for it. Pure.

Nodes are not read, which would need rights over the whole cluster: the scheduler's own word on the waiting pod says
what matters, and says it for taints, affinities and quotas as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from slipway_operator.api.rollout import Rollout
from slipway_operator.api.v1alpha1 import ModelDeploymentSpec
from slipway_operator.names import REPLACING_ANNOTATION
from slipway_operator.records import ChildRecord, PodRecord
from slipway_operator.render.manifest import Manifest

REPLACE: Final = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
"""One old pod ends, its successor starts, and so on."""


@dataclass(frozen=True)
class Surge:
    """`lacking` names the resource for whose sake old pods end first; empty while there is room for one pod more."""

    lacking: str = ""
    look_again: datetime | None = None


def surge(
    spec: ModelDeploymentSpec,
    template_hash: str,
    live: ChildRecord | None,
    pods: Iterable[PodRecord],
    now: datetime,
) -> Surge:
    """`live` is the Deployment. Once begun, replacing goes on until no old pod is left."""
    rollout = spec.rollout or Rollout()
    gpu = spec.resources.gpu if spec.resources is not None else None
    if rollout.strategy != "Auto" or gpu is None or gpu.count == 0 or live is None:
        return Surge()
    resource = gpu.resource_name
    present = [pod for pod in pods if pod.phase in ("Pending", "Running")]
    older = [pod for pod in present if pod.template_hash != template_hash and pod.node]
    if older and _annotation(live):
        # One that is leaving holds its GPU until it is gone.
        return Surge(lacking=resource)
    if all(pod.deleting for pod in older):
        return Surge()
    if _quota_exceeded(live, resource):
        return Surge(lacking=resource)
    waiting = [
        pod.unscheduled_since
        for pod in present
        if pod.template_hash == template_hash and pod.unscheduled_since is not None and _lacks(pod, resource)
    ]
    if not waiting:
        return Surge()
    due = min(waiting) + timedelta(seconds=rollout.surge_timeout_seconds)
    return Surge(lacking=resource) if now >= due else Surge(look_again=due)


def replacing(deployment: Manifest, resource: str) -> None:
    """Let old pods of this rendered Deployment end first, and note on it for which resource."""
    deployment["spec"]["strategy"] = REPLACE
    deployment["metadata"].setdefault("annotations", {})[REPLACING_ANNOTATION] = resource


def told(lacking: str) -> str:
    """In a sentence; empty where nothing is lacking."""
    if not lacking:
        return ""
    return (
        f"No {lacking} is free for a pod beside the old ones, so that each old pod ends before its successor starts."
        " Fewer pods answer meanwhile, and with one replica none."
    )


def _annotation(live: ChildRecord) -> str | None:
    found: str | None = (live.body["metadata"].get("annotations") or {}).get(REPLACING_ANNOTATION)
    return found


def _lacks(pod: PodRecord, resource: str) -> bool:
    scheduled = pod.conditions.get("PodScheduled")
    if scheduled is None or scheduled.status != "False":
        return False
    return re.search(rf"Insufficient {re.escape(resource)}(?![-\w])", scheduled.message) is not None


def _quota_exceeded(live: ChildRecord, resource: str) -> bool:
    failed = live.deployment.conditions.get("ReplicaFailure") if live.deployment is not None else None
    return (
        failed is not None
        and failed.status == "True"
        and "exceeded quota" in failed.message
        and f"requests.{resource}" in failed.message
    )
