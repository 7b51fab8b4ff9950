"""One bucket: its backlog and what is known about its speed."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from slipway_runtime.batching.backlog import Backlog, Entry
from slipway_runtime.batching.capacity import Capacity
from slipway_runtime.batching.growth import Growth
from slipway_runtime.batching.profile import ExecutionProfile
from slipway_runtime.batching.rate import ArrivalRate


@dataclass(slots=True, eq=False)
class Lane:
    bucket: Hashable
    profile: ExecutionProfile
    capacity: Capacity
    arrivals: ArrivalRate
    backlog: Backlog
    sheds_at_target: bool
    row_elements: float
    growth: Growth | None = None
    """None where batches keep the size they start with."""

    @property
    def shedding(self) -> bool:
        return self.capacity.shedding

    def due(self, entry: Entry) -> float:
        """The moment after which the entry is not served."""
        return entry.target_at if self.shedding else entry.deadline_at

    def queue(self, entry: Entry) -> None:
        self.backlog.add(entry, entry.target_at if self.sheds_at_target else entry.deadline_at)

    def earliest(self) -> Entry | None:
        """The queued entry that is due first, whatever its place in the order."""
        if self.shedding == self.sheds_at_target:
            return self.backlog.earliest()
        return min(self.backlog, key=self.due, default=None)

    def expected_seconds(self, rows: int) -> float:
        """Median time of a batch, be it one that is tried."""
        if self.growth is not None and rows > self.capacity.largest:
            return self.growth.expected_seconds(rows)
        return self.profile.median_seconds(rows)

    def planned_seconds(self, rows: int) -> float:
        """What the target's quantile of such batches takes at most."""
        if self.growth is not None and rows > self.capacity.largest:
            return self.growth.planned_seconds(rows)
        return self.profile.planned_seconds(rows)

    def remaining_seconds(self, entry: Entry) -> float:
        """Time to compute the entry from now on, if nothing else ran: planned for its last batch, median before."""
        whole, last = divmod(entry.rows, self.capacity.batch_limit)
        if last == 0:
            whole, last = whole - 1, self.capacity.batch_limit
        profile = self.profile
        return whole * profile.median_seconds(self.capacity.batch_limit) + profile.planned_seconds(last)
