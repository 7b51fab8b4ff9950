"""What one bucket's profile and the target allow: batch sizes, the queue's length, the sustainable rate."""

from __future__ import annotations

from typing import Final

from slipway_runtime.batching.profile import ExecutionProfile

_QUEUE_SLACK: Final = 1.25
"""The queue may hold this many times what can still be answered in time: predictions decide before the bound does."""
_SUSTAINABLE: Final = 0.9
"""Of the rate at the batch size of the target, what one replica holds under random arrivals. Source: simulation."""


class Capacity:
    """`span_seconds` is the latency target, or the timeout where there is none."""

    def __init__(self, profile: ExecutionProfile, span_seconds: float, executors: int) -> None:
        self.profile = profile
        self._span = span_seconds
        self._executors = executors
        self.refresh(0.0)

    def refresh(self, rows_per_second: float) -> None:
        """To be called when the profile changed."""
        profile = self.profile
        self.feasible = profile.planned_seconds(1) <= self._span
        if self.feasible:
            fitting = (n for n in range(profile.max_batch_size, 0, -1) if self._keeps_up(n))
            self.batch_size = next(fitting, 1)
        else:
            self.batch_size = profile.best_size(profile.max_batch_size)
        self.rows_per_second = self._executors * self.batch_size / profile.median_seconds(self.batch_size)
        self.follow(rows_per_second)

    def follow(self, rows_per_second: float) -> None:
        """Adapts the largest batch to the arrival rate.

        A request that arrives just after a batch started waits for it and is computed in the next: `batch_size` leaves
        room for both. Under overload some requests are lost anyway, and larger batches of fresh ones lose fewer.
        """
        profile, size = self.profile, self.batch_size
        if self.feasible and rows_per_second > self.rows_per_second:
            while size < profile.max_batch_size:
                fresh = rows_per_second * (self._span - profile.planned_seconds(size + 1))
                if fresh < size + 1:
                    break
                size += 1
        self.batch_limit = size
        waiting = max(0.0, self._span - profile.median_seconds(1))
        rate = self._executors * size / profile.median_seconds(size)
        self.queue_rows = int(_QUEUE_SLACK * waiting * rate) + size
        """Rows beyond this would be too late whatever happens (Little's law)."""

    @property
    def sustainable_rows_per_second(self) -> float:
        return _SUSTAINABLE * self.rows_per_second

    def _keeps_up(self, rows: int) -> bool:
        """One batch in progress and one's own fit into the span."""
        profile = self.profile
        in_progress = profile.median_seconds(rows) / self._executors
        own = profile.median_seconds(rows)
        return in_progress + own <= self._span and profile.planned_seconds(rows) <= self._span
