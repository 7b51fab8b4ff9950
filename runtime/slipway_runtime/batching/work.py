"""What goes through the scheduler: requests, the batches made of them, and the words for what was not served."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum


@dataclass(slots=True, eq=False)
class Request:
    id: Hashable
    """Unique among the requests in the scheduler."""
    rows: int = 1
    bucket: Hashable = None
    """Only requests of equal buckets share a batch: the shapes and datatypes of their rows."""
    row_elements: float = 1.0
    """Size of one row; it scales the expected time of a bucket that was never measured."""
    priority: int = 0
    """The higher goes first, as in a Kubernetes PriorityClass."""
    timeout_seconds: float | None = None
    """The client's own; the shorter of it and the policy's counts."""
    waited_seconds: float = 0.0
    """Since the target began to count, before the request was offered."""


@dataclass(slots=True, eq=False)
class Slice:
    """Rows [start, stop) of one request."""

    request: Request
    start: int
    stop: int
    target_at: float
    """When the answer is due by the latency target."""

    @property
    def last(self) -> bool:
        return self.stop == self.request.rows


@dataclass(slots=True, eq=False)
class Batch:
    id: int
    bucket: Hashable
    slices: tuple[Slice, ...]
    """In the order of their rows in the batch."""
    rows: int
    padded_rows: int
    """The size to execute: the next allowed one."""
    started_at: float
    predicted_seconds: float
    planned_seconds: float
    """What the target's quantile of such batches takes at most."""
    tried: bool = False
    """Larger than the limit, to find out whether that pays."""

    @property
    def predicted_end(self) -> float:
        return self.started_at + self.predicted_seconds

    @property
    def planned_end(self) -> float:
        return self.started_at + self.planned_seconds


class Reason(StrEnum):
    QUEUE_FULL = "queue_full"
    PREDICTED_LATE = "predicted_late"
    """At arrival, or dropped from the queue since."""
    DEADLINE_IN_QUEUE = "deadline_in_queue"
    """Nobody waits for the answer any longer."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that was never queued, or was dropped from the queue."""

    request: Request
    reason: Reason
    retry_after_seconds: float
    """Until a request like this one is expected to be served in time."""

    @property
    def retry_after(self) -> int:
        """The header's value: whole seconds, at least one."""
        return max(1, math.ceil(self.retry_after_seconds))


@dataclass(slots=True, eq=False)
class Decision:
    """What to do now: at most one batch to run, requests to answer as refused, and when to ask again."""

    batch: Batch | None = None
    dropped: tuple[Refusal, ...] = ()
    wake_at: float | None = None
    """Set when a batch is held back on purpose."""
