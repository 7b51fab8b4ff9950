"""What one bucket's profile and the target allow: batch sizes, the queue's length, the sustainable rate."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from slipway_runtime.batching.policy import BatchingPolicy
from slipway_runtime.batching.profile import ExecutionProfile
from slipway_runtime.batching.sizes import PATIENCE

_QUEUE_SLACK: Final = 1.5
"""The queue may hold this many times what can still be answered in time: predictions decide before the bound does."""
_SUSTAINABLE: Final = 0.9
"""Of the rate at the batch size of the target, what one replica holds under random arrivals. Source: simulation."""


class Capacity:
    """`span_seconds` is what batch sizes and queue lengths are planned for."""

    def __init__(self, profile: ExecutionProfile, policy: BatchingPolicy, span_seconds: float) -> None:
        self.profile = profile
        self._policy = policy
        self._span = span_seconds
        self._largest = profile.max_batch_size
        self._calm = False
        """Nothing changed since the limits were computed for a load within the capacity."""
        self.refresh(0.0)

    @property
    def largest(self) -> int:
        """What fits into the memory of the device, as far as is known."""
        return self._largest

    def plan_for(self, span_seconds: float, rows_per_second: float) -> None:
        self._span = span_seconds
        self.refresh(rows_per_second)

    def limit(self, rows: int, rows_per_second: float) -> None:
        """No batch is larger than this any more."""
        self._largest = max(1, min(self._largest, rows))
        self.refresh(rows_per_second)

    def grow(self, rows: int, rows_per_second: float) -> None:
        """Batches may be as large as this from now on; the profile knows the size."""
        self._largest = rows
        self.refresh(rows_per_second)

    def allows(self, rows: int, median_seconds: float, planned_seconds: float, rows_per_second: float) -> bool:
        """Whether a size beyond the largest, of which only these times are known, would be used."""
        if self._policy.target is None or not self.feasible:
            return median_seconds <= PATIENCE * self._policy.timeout_seconds
        if self._fits(median_seconds, planned_seconds):
            return True
        if rows_per_second <= self.rows_per_second:
            return False
        spare = self._span - planned_seconds
        return rows_per_second * spare >= rows if self.shedding else spare >= 0

    def refresh(self, rows_per_second: float) -> None:
        """To be called when the profile changed."""
        profile = self.profile
        self.feasible = profile.planned_seconds(1) <= self._span
        self.shedding = self.feasible and self._policy.sheds_at_target
        """A target that one row alone cannot keep sheds nothing: late answers are better than none at all."""
        if self.feasible:
            # Times never fall as sizes grow, so the sizes that keep up come first.
            self.batch_size = max(1, bisect_left(range(1, self._largest + 1), True, key=self._falls_behind))
        else:
            self.batch_size = profile.best_size(self._largest)
        self.rows_per_second = self._rate(self.batch_size)
        self._calm = False
        self.follow(rows_per_second)

    def follow(self, rows_per_second: float) -> None:
        """Adapts the largest batch, `batch_limit`, to the arrival rate.

        A request that arrives just after a batch started waits for it and is computed in the next: `batch_size` leaves
        room for both. Under overload some requests are lost anyway, and larger batches of fresh ones lose fewer.
        """
        overloaded = self.feasible and rows_per_second > self.rows_per_second
        if not overloaded and self._calm:
            return
        self._calm = not overloaded
        self.batch_limit = self._overload_size(rows_per_second) if overloaded else self.batch_size
        patience = self._span if self.shedding else self._policy.timeout_seconds
        waiting = max(0.0, patience - self.profile.median_seconds(1))
        self.queue_rows = int(_QUEUE_SLACK * waiting * self._rate(self.batch_limit)) + self.batch_limit
        """Rows beyond this would be too late whatever happens (Little's law)."""

    @property
    def sustainable_rows_per_second(self) -> float:
        return _SUSTAINABLE * self.rows_per_second

    def _rate(self, batch_size: int) -> float:
        return self._policy.executors * batch_size / self.profile.median_seconds(batch_size)

    def _overload_size(self, rows_per_second: float) -> int:
        profile, size = self.profile, self.batch_size
        if not self.shedding:
            return max(size, profile.best_size(self._largest))
        while size < self._largest:
            fresh = rows_per_second * (self._span - profile.planned_seconds(size + 1))
            if fresh < size + 1:
                break
            size += 1
        return max(self.batch_size, profile.best_size(size))

    def _falls_behind(self, rows: int) -> bool:
        """One batch in progress and one's own do not fit into the span."""
        return not self._fits(self.profile.median_seconds(rows), self.profile.planned_seconds(rows))

    def _fits(self, median_seconds: float, planned_seconds: float) -> bool:
        in_progress = median_seconds / self._policy.executors
        return in_progress + median_seconds <= self._span and planned_seconds <= self._span
