"""The scheduler of the runtime as a policy of the simulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from slipway_runtime.batching.growth import Step
from slipway_runtime.batching.policy import BatchingPolicy, LatencyTarget
from slipway_runtime.batching.scheduler import Scheduler
from slipway_runtime.batching.sizes import ladder
from slipway_runtime.batching.work import Batch, Request
from slipway_runtime.contract import Objective
from tests.simulation.engine import Turn
from tests.simulation.hardware import Hardware

_WARM_UP_RUNS = 8


def warm_up(hardware: Hardware, rng: np.random.Generator) -> dict[int, tuple[float, ...]]:
    return {
        size: tuple((hardware.seconds(size) * hardware.noise_block(rng, _WARM_UP_RUNS)).tolist())
        for size in ladder(hardware.max_batch_size)
    }


class Subject:
    name = "Slipway"

    def __init__(self, hardware: Hardware, rng: np.random.Generator, **changes: object) -> None:
        target = LatencyTarget(hardware.target_seconds, hardware.quantile)
        policy = BatchingPolicy(max_batch_size=hardware.max_batch_size, target=target)
        self.scheduler = Scheduler(replace(policy, **changes), warm_up(hardware, rng))
        self._batches: dict[int, Batch] = {}

    def offer(self, request: int, now: float) -> bool:
        return self.scheduler.offer(Request(request), now) is None

    def turn(self, now: float) -> Turn:
        decision = self.scheduler.decide(now)
        if decision.batch is None:
            return Turn(wake_at=decision.wake_at)
        requests = [int(str(part.request.id)) for part in decision.batch.slices]
        self._batches[requests[0]] = decision.batch
        return Turn(requests)

    def complete(self, batch: Sequence[int], started_at: float, now: float) -> None:
        self.scheduler.complete(self._batches.pop(batch[0]), now)


class Efficient(Subject):
    name = "Slipway, objective Efficiency"

    def __init__(self, hardware: Hardware, rng: np.random.Generator) -> None:
        super().__init__(hardware, rng, objective=Objective.EFFICIENCY)


class Serialising(Subject):
    """Answers of a batch are written one after another when it has ended, and the next batch runs meanwhile."""

    def __init__(self, hardware: Hardware, rng: np.random.Generator, seconds: float, *, measured: bool) -> None:
        super().__init__(hardware, rng)
        self._seconds = seconds
        self._measured = measured
        self.after_seconds: dict[int, float] = {}
        """Of each answer, from the end of its batch."""

    def complete(self, batch: Sequence[int], started_at: float, now: float) -> None:
        super().complete(batch, started_at, now)
        for position, request in enumerate(batch, start=1):
            after = self.after_seconds[request] = position * self._seconds
            if self._measured:
                self.scheduler.observe_answer(after)


class Started(Subject):
    """After a start that measured no batch above `measured` rows, as of a slow model or a throttled machine. `ceiling`
    is what batches may grow to while serving."""

    def __init__(self, hardware: Hardware, rng: np.random.Generator, measured: int, ceiling: int = 0) -> None:
        super().__init__(hardware, rng)
        policy = replace(self.scheduler.policy, max_batch_size=measured, ceiling=ceiling)
        points = {size: runs for size, runs in warm_up(hardware, rng).items() if size <= measured}
        self.scheduler = Scheduler(policy, points)
        self.steps: list[Step] = []

    def complete(self, batch: Sequence[int], started_at: float, now: float) -> None:
        super().complete(batch, started_at, now)
        self.steps += [step for _, step in self.scheduler.take_steps()]


class TwoTargets(Subject):
    """What the scheduler does not do, and why: it takes the looser target as the deadline, and moves that toward the
    tighter one, of p95, as soon as more than `aim` of the answers are later than that one."""

    aim = 0.03
    step = 0.01
    """Of the way from one target to the other, for each late answer."""
    least_change_seconds = 0.002

    def __init__(self, hardware: Hardware, rng: np.random.Generator, looser_seconds: float) -> None:
        super().__init__(hardware, rng)
        self._tighter = hardware.target_seconds
        self._spread = looser_seconds - self._tighter
        self._share = 1.0
        self._arrived: dict[int, float] = {}
        self._aim_at(looser_seconds)

    def offer(self, request: int, now: float) -> bool:
        self._arrived[request] = now
        return super().offer(request, now)

    def complete(self, batch: Sequence[int], started_at: float, now: float) -> None:
        super().complete(batch, started_at, now)
        late = sum(now - self._arrived[request] > self._tighter for request in batch)
        self._share = min(1.0, max(0.0, self._share - self.step * (late - self.aim * len(batch))))
        wanted = self._tighter + self._share * self._spread
        if abs(wanted - self._aimed) > self.least_change_seconds:
            self._aim_at(wanted)

    def _aim_at(self, seconds: float) -> None:
        self._aimed = seconds
        scheduler = self.scheduler
        scheduler._target_seconds = seconds
        for lane in scheduler.lanes.values():
            lane.capacity.plan_for(seconds, lane.arrivals.rows_per_second)
