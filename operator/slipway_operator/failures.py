"""One cause of trouble, and which of several a user is told. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from slipway_operator.api.reasons import Reason
from slipway_runtime.contract import FailureReason

STAGES: Final = (
    "Schedule",
    "ImagePull",
    "Start",
    "Config",
    "Fetch",
    "Verify",
    "Load",
    "WarmUp",
    "Serve",
)
"""The way of a pod, from the request for it to its first answer."""

HEALING: Final = frozenset(
    {
        FailureReason.ARTIFACT_UNREACHABLE,
        FailureReason.ARTIFACT_STALLED,
        FailureReason.INTERNAL_ERROR,
        Reason.UNSCHEDULABLE,
        Reason.QUOTA_EXCEEDED,
        Reason.CRASHED,
        Reason.EVICTED,
        Reason.NODE_LOST,
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
    """It may pass without anybody changing this object."""
    current: bool
    """Of this generation."""
    pod: str | None = None
    container: str | None = None
    revision: str | None = None
    """Hash of the template that the pod names as its own; None where no pod failed."""
    exit_code: int | None = None


Rank = tuple[bool, bool, int, str, str]


def rank(failure: Failure) -> Rank:
    """The least rank is told.

    1. This generation before older ones: that is what the user changed.
    2. What needs somebody before what may pass by itself: nothing goes on until it is mended.
    3. The pod that came furthest: it has shown that everything before works, so its cause is the one that is left.
    4. The reason's word, then the pod's name: arbitrary and always the same.
    """
    return (
        not failure.current,
        failure.heals,
        -_stage_number(failure.stage),
        failure.reason,
        failure.pod or "",
    )


def worst(failures: Iterable[Failure]) -> Failure | None:
    """The one of the least rank; None when there is none."""
    return min(failures, key=rank, default=None)


def _stage_number(stage: str) -> int:
    """A stage that a newer runtime knows lies somewhere behind those that we know."""
    return STAGES.index(stage) if stage in STAGES else len(STAGES)
