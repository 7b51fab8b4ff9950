"""Runs one batching policy against one stream of requests, in simulated time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Protocol

import numpy as np

from tests.simulation.hardware import Hardware

_WARM_UP_SECONDS = 3.0
"""Not counted: policies that start without a profile are given this long to find their feet."""
_NEVER = float("inf")
_NEVER_SERVED = float("nan")


@dataclass(frozen=True)
class Turn:
    """What a policy does when an executor is free: run these requests, or ask again later, or wait for an arrival."""

    batch: Sequence[int] = ()
    wake_at: float | None = None


class Policy(Protocol):
    def offer(self, request: int, now: float) -> bool:
        """False refuses the request."""

    def turn(self, now: float) -> Turn: ...

    def complete(self, batch: Sequence[int], started_at: float, now: float) -> None: ...


@dataclass(frozen=True)
class Result:
    arrived: np.ndarray
    latency_seconds: np.ndarray
    """Of each request, in order of arrival; NaN for one that was refused or dropped."""
    batch_rows: np.ndarray
    busy_share: float

    def counted(self) -> np.ndarray:
        return self.latency_seconds[self.arrived >= _WARM_UP_SECONDS]

    def in_target(self, target_seconds: float) -> float:
        """Share of all offered requests; a refused one counts as missed."""
        counted = self.counted()
        return float(np.mean(np.nan_to_num(counted, nan=np.inf) <= target_seconds))


def served_quantile(results: Sequence[Result], quantile: float) -> float:
    """Latency in seconds, of the requests that were answered."""
    counted = np.concatenate([result.counted() for result in results])
    served = counted[~np.isnan(counted)]
    return float(np.quantile(served, quantile)) if len(served) else float("nan")


@dataclass(frozen=True)
class SlowDown:
    """From `at` on every batch takes `factor` times as long."""

    at: float
    factor: float


def simulate(
    policy: Policy,
    arrived: np.ndarray,
    hardware: Hardware,
    rng: np.random.Generator,
    executors: int = 1,
    slow_down: SlowDown | None = None,
) -> Result:
    """Events at the same time: arrivals before completions, so that a batch that starts then can hold them."""
    run = _Run(policy, arrived.tolist(), hardware, rng, executors, slow_down)
    while run.step():
        pass
    busy_share = run.busy_seconds / max(run.now, 1e-9) / executors
    return Result(arrived, np.array(run.latencies), np.array(run.sizes), busy_share)


class _Run:
    def __init__(
        self,
        policy: Policy,
        times: list[float],
        hardware: Hardware,
        rng: np.random.Generator,
        executors: int,
        slow_down: SlowDown | None,
    ) -> None:
        self._policy = policy
        self._times = times
        self._table = hardware.table
        self._noise = hardware.noise(rng)
        self._executors = executors
        self._slow_down = slow_down
        self._running: list[tuple[float, float, Sequence[int]]] = []
        self._position = 0
        self.now = 0.0
        self.busy_seconds = 0.0
        self.latencies = [_NEVER_SERVED] * len(times)
        self.sizes: list[int] = []

    def step(self) -> bool:
        """Start what can start, then jump to the next event. False when nothing is left to happen."""
        wakes = self._start_batches()
        free = len(self._running) < self._executors
        completes = self._running[0][0] if self._running else _NEVER
        arrives = self._times[self._position] if self._position < len(self._times) else _NEVER
        if min(arrives, completes, wakes) == _NEVER:
            return False
        if arrives <= completes and arrives <= wakes:
            # While no executor is free nothing is decided, so all arrivals until then are one event.
            self._offer_until(arrives if free else completes)
        elif completes <= wakes:
            self._complete()
        else:
            self.now = wakes
        return True

    def _start_batches(self) -> float:
        """When the policy wants to be asked again."""
        while len(self._running) < self._executors:
            turn = self._policy.turn(self.now)
            if not turn.batch:
                return _NEVER if turn.wake_at is None else turn.wake_at
            seconds = self._table[len(turn.batch)] * next(self._noise)
            if self._slow_down and self.now >= self._slow_down.at:
                seconds *= self._slow_down.factor
            heappush(self._running, (self.now + seconds, self.now, turn.batch))
            self.sizes.append(len(turn.batch))
            self.busy_seconds += seconds
        return _NEVER

    def _offer_until(self, until: float) -> None:
        times = self._times
        while self._position < len(times) and times[self._position] <= until:
            self.now = times[self._position]
            self._policy.offer(self._position, self.now)
            self._position += 1

    def _complete(self) -> None:
        self.now, started_at, batch = heappop(self._running)
        for request in batch:
            self.latencies[request] = self.now - self._times[request]
        self._policy.complete(batch, started_at, self.now)
