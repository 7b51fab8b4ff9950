"""The buckets that are known: the one that was measured at start, and those that clients brought since."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Final

from slipway_runtime.batching.backlog import Backlog
from slipway_runtime.batching.capacity import Capacity
from slipway_runtime.batching.growth import Growth
from slipway_runtime.batching.lane import Lane
from slipway_runtime.batching.policy import BatchingPolicy
from slipway_runtime.batching.profile import ExecutionProfile
from slipway_runtime.batching.rate import ArrivalRate
from slipway_runtime.batching.work import Batch, Request
from slipway_runtime.contract import BatchingMode

MAX_LANES: Final = 64
"""Profiles of this many shapes are kept; the one that was used least recently makes room."""


class Lanes:
    """`points` are warm-up runs in seconds per batch size, for rows of `row_elements` elements in `bucket`."""

    def __init__(
        self,
        policy: BatchingPolicy,
        points: Mapping[int, Sequence[float]],
        bucket: Hashable,
        row_elements: float,
        span_seconds: float,
    ) -> None:
        self._policy = policy
        profile = ExecutionProfile(policy.max_batch_size, points, policy.allowed_batch_sizes, policy.quantile)
        self._row_elements = row_elements
        self.reference = self._make(bucket, profile, row_elements, span_seconds)
        """The bucket that was measured."""
        self.known: dict[Hashable, Lane] = {bucket: self.reference}

    def of(self, request: Request, span_seconds: float, running: Iterable[Batch]) -> Lane:
        lane = self.known.get(request.bucket)
        if lane is None:
            self._make_room(running)
            reference = self.reference
            profile = ExecutionProfile(
                self._policy.max_batch_size,
                reference.profile.scaled_points(request.row_elements / reference.row_elements),
                self._policy.allowed_batch_sizes,
                self._policy.quantile,
                settling=1,
            )
            lane = self.known[request.bucket] = self._make(request.bucket, profile, request.row_elements, span_seconds)
        return lane

    def _make(self, bucket: Hashable, profile: ExecutionProfile, row_elements: float, span_seconds: float) -> Lane:
        capacity = Capacity(profile, self._policy, span_seconds)
        return Lane(
            bucket=bucket,
            profile=profile,
            capacity=capacity,
            arrivals=ArrivalRate(2 * span_seconds),
            backlog=Backlog(),
            sheds_at_target=self._policy.sheds_at_target,
            row_elements=row_elements,
            growth=self._growth(profile, capacity, row_elements),
        )

    def _growth(self, profile: ExecutionProfile, capacity: Capacity, row_elements: float) -> Growth | None:
        """None where the setting says all. Rows that are larger than those that the ceiling was found for have a lower
        one, because their memory is what it may stand for."""
        policy = self._policy
        ceiling = int(policy.ceiling * min(1.0, self._row_elements / row_elements))
        if policy.mode is not BatchingMode.AUTO or policy.allowed_batch_sizes or ceiling <= policy.max_batch_size:
            return None
        return Growth(profile, capacity, ceiling, policy.executors)

    def _make_room(self, running: Iterable[Batch]) -> None:
        if len(self.known) < MAX_LANES:
            return
        busy = {batch.bucket for batch in running}
        idle = [
            lane
            for lane in self.known.values()
            if lane is not self.reference and not lane.backlog.requests and lane.bucket not in busy
        ]
        if idle:
            del self.known[min(idle, key=lambda lane: lane.arrivals.last_at).bucket]
