"""Decides at arrival whether a request can be answered in time.

A wrong refusal cannot be taken back, while a late request in the queue is still dropped when a batch is formed. So
predictions are medians, and one batch more than fits is let in: some that wait ahead will be dropped first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slipway_runtime.batching.backlog import Entry
from slipway_runtime.batching.lane import Lane
from slipway_runtime.batching.policy import BatchingPolicy
from slipway_runtime.batching.work import Reason, Refusal
from slipway_runtime.contract import BatchingMode


@dataclass(slots=True, eq=False)
class Outlook:
    """What else waits and runs."""

    queued_requests: int
    """In all lanes."""
    residuals: Sequence[float]
    """Ascending seconds until each executor is expected to be free."""
    other_seconds: float
    """Work of the other lanes that is served before, per executor."""


def refuse(entry: Entry, lane: Lane, outlook: Outlook, policy: BatchingPolicy, now: float) -> Refusal | None:
    if outlook.queued_requests == 0 and outlook.residuals[0] <= 0:
        return None  # keeps traffic flowing, and the profile learning, however wrong the profile is
    late = finish_seconds(entry, lane, outlook, policy) - (lane.due(entry) - now)
    if _full(entry, lane, outlook, policy):
        return Refusal(entry.request, Reason.QUEUE_FULL, max(late, outlook.residuals[0]))
    spare = lane.profile.median_seconds(lane.capacity.batch_limit) if lane.backlog.rows else 0.0
    return Refusal(entry.request, Reason.PREDICTED_LATE, late) if late > spare else None


def finish_seconds(entry: Entry, lane: Lane, outlook: Outlook, policy: BatchingPolicy) -> float:
    """From now until the last row of `entry` is computed, if it is queued now."""
    ahead = lane.backlog.rows_up_to(entry.order)
    limit = 1 if policy.mode is BatchingMode.DISABLED else lane.capacity.batch_limit
    profile, residuals = lane.profile, outlook.residuals
    if ahead + entry.rows <= limit:
        start = residuals[0] + outlook.other_seconds
        # What arrives until the start shares the batch and lengthens it.
        joined = ahead + entry.rows + int(lane.arrivals.rows_per_second * start)
        return start + profile.median_seconds(min(limit, joined))
    batches_ahead, rest = divmod(ahead, limit)
    rounds, executor = divmod(batches_ahead, len(residuals))
    start = residuals[executor] + outlook.other_seconds + rounds * profile.median_seconds(limit)
    return start + profile.serial_seconds(rest + entry.rows, limit)


def _full(entry: Entry, lane: Lane, outlook: Outlook, policy: BatchingPolicy) -> bool:
    if policy.max_queue_length is not None:
        return outlook.queued_requests >= policy.max_queue_length
    return lane.backlog.rows > 0 and lane.backlog.rows + entry.rows > lane.capacity.queue_rows
