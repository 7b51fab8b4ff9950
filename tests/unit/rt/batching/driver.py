"""Drives a scheduler through simulated time and writes down what became of every request."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

from slipway_runtime.batching.scheduler import Scheduler
from slipway_runtime.batching.work import Batch, Reason, Request


@dataclass(frozen=True)
class Event:
    at: float
    request: Request | None = None
    cancel: Hashable = None


@dataclass
class Driver:
    scheduler: Scheduler
    seconds_of: Callable[[Batch], float]
    refused: dict[Hashable, Reason] = field(default_factory=dict)
    dropped: dict[Hashable, Reason] = field(default_factory=dict)
    cancelled: set[Hashable] = field(default_factory=set)
    batches: list[Batch] = field(default_factory=list)
    completed_at: dict[Hashable, float] = field(default_factory=dict)
    after_decision: Callable[[Scheduler, float], None] = lambda _scheduler, _now: None
    on_batch: Callable[[Scheduler, Batch], None] = lambda _scheduler, _batch: None

    def play(self, events: Iterable[Event]) -> None:
        waiting = sorted(events, key=lambda event: event.at)[::-1]
        running: list[tuple[float, Batch]] = []
        now, wake = 0.0, None
        while waiting or running or wake is not None:
            times = [waiting[-1].at] if waiting else []
            times += [end for end, _ in running]
            times += [wake] if wake is not None else []
            now = max(now, min(times))
            for end, batch in [pair for pair in running if pair[0] <= now]:
                running.remove((end, batch))
                self._complete(batch, now)
            while waiting and waiting[-1].at <= now:
                self._take(waiting.pop(), now)
            wake = self._decide(now, running)

    def _take(self, event: Event, now: float) -> None:
        if event.request is None:
            if self.scheduler.cancel(event.cancel):
                self.cancelled.add(event.cancel)
            return
        refusal = self.scheduler.offer(event.request, now)
        if refusal is not None:
            self.refused[event.request.id] = refusal.reason

    def _decide(self, now: float, running: list[tuple[float, Batch]]) -> float | None:
        while True:
            decision = self.scheduler.decide(now)
            self.dropped |= {refusal.request.id: refusal.reason for refusal in decision.dropped}
            self.after_decision(self.scheduler, now) if decision.batch is None else None
            if decision.batch is None:
                return decision.wake_at
            self.batches.append(decision.batch)
            self.on_batch(self.scheduler, decision.batch)
            running.append((now + self.seconds_of(decision.batch), decision.batch))

    def _complete(self, batch: Batch, now: float) -> None:
        self.scheduler.complete(batch, now)
        for part in batch.slices:
            self.completed_at[part.request.id] = max(now, self.completed_at.get(part.request.id, now))

    def rows_served(self) -> dict[Hashable, list[tuple[int, int]]]:
        """Slices of each request in the order of dispatch."""
        served = defaultdict(list)
        for batch in self.batches:
            for part in batch.slices:
                served[part.request.id].append((part.start, part.stop))
        return served
