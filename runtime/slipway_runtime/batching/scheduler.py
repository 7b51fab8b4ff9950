"""Takes requests, hands out batches, learns from their times. Driven by a clock that the caller passes in.

The caller offers each request as it arrives, asks for a decision when an executor is free, when a request arrived and
when a wake-up is due, and reports each batch as it ends. Nothing here runs a model, waits, or reads a clock.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from operator import attrgetter
from typing import Final

from slipway_runtime.batching.admission import Outlook, finish_seconds, refuse
from slipway_runtime.batching.aftermath import Aftermath
from slipway_runtime.batching.backlog import Entry
from slipway_runtime.batching.feedback import LateFeedback
from slipway_runtime.batching.formation import drop_hopeless, drop_late, form, is_busy, may_wait
from slipway_runtime.batching.growth import Step
from slipway_runtime.batching.lane import Lane
from slipway_runtime.batching.lanes import Lanes
from slipway_runtime.batching.policy import BatchingPolicy
from slipway_runtime.batching.work import Batch, Decision, Reason, Refusal, Request
from slipway_runtime.contract import BatchingMode

PRIORITY_SHARE: Final = 0.25
"""A step of priority overtakes what arrived up to this share of the target (or of the timeout) before."""

MARGIN_STEP: Final = 0.005
"""Smaller changes of the margin are not worth computing the curves again."""


_VAGUE_SHARE: Final = 0.05
"""Of the target: where the end of a batch is less certain than this, forming the next one ahead of it would cost more
answers than the pause between them."""

_NOTHING: Final = Decision()
_NEVER: Final = float("-inf")
_FOREVER: Final = float("inf")


class Scheduler:
    """`points` are warm-up runs in seconds per batch size, for rows of `row_elements` elements in `bucket`."""

    def __init__(
        self,
        policy: BatchingPolicy,
        points: Mapping[int, Sequence[float]],
        bucket: Hashable = None,
        row_elements: float = 1.0,
    ) -> None:
        self.policy = policy
        self._target_seconds = policy.target.seconds if policy.target else _FOREVER
        self._lanes = Lanes(policy, points, bucket, row_elements, self._span)
        self._entries: dict[Hashable, tuple[Entry, Lane]] = {}
        self._running: dict[int, Batch] = {}
        self._feedback = LateFeedback(policy.quantile)
        self._aftermath = Aftermath()
        self._batches = 0
        self._steps: list[tuple[Hashable, Step]] = []
        self._residuals: list[float] = []
        self._residuals_at = _NEVER
        self._priority_seconds = PRIORITY_SHARE * self._span
        self._eager = policy.mode is BatchingMode.AUTO and not may_wait(policy)

    @property
    def queued_requests(self) -> int:
        return len(self._entries)

    def oldest_seconds(self, now: float) -> float:
        """How long the request that was queued first waits; 0 when none does."""
        return now - self._first_entry.arrived_at if self._entries else 0.0

    @property
    def queued_rows(self) -> int:
        return sum(lane.backlog.rows for lane in self._lanes.known.values())

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def has_free_executor(self) -> bool:
        return len(self._running) < self.policy.executors

    @property
    def reference(self) -> Lane:
        """The bucket that was measured at warm-up: for metrics and the status."""
        return self._lanes.reference

    def offer(self, request: Request, now: float) -> Refusal | None:
        """Queues the request, or says why not."""
        if request.id in self._entries:
            raise ValueError(f"request {request.id!r} is queued already, expected each id once")
        if request.rows < 1:
            raise ValueError(f"request {request.id!r} has {request.rows} rows, expected at least one")
        lane = self._lanes.of(request, self._span, self._running.values())
        lane.arrivals.observe(now, request.rows)
        entry = self._entry(request, now)
        if not self._entries and self.has_free_executor:
            refusal = None
        else:
            refusal = refuse(entry, lane, self._outlook(lane, entry, now), self.policy, now)
        if refusal is None:
            lane.queue(entry)
            self._entries[request.id] = (entry, lane)
        return refusal

    def decide(self, now: float, ahead: bool = False) -> Decision:
        """The next batch, if an executor is free; it counts as running from now on.

        `ahead`: also when none is, for the executor that is expected to be free first. The batch counts as running
        from then on, and the caller sets its `started_at` right when it ends.
        """
        if not self._entries:
            return _NOTHING
        dropped = self.expire(now)
        start = now
        if not self.has_free_executor:
            if not ahead:
                return Decision(None, tuple(dropped))
            running = min(self._running.values(), key=attrgetter("predicted_end"))
            start = max(now, running.predicted_end)
            if not self.policy.sheds_at_target:
                now = start
            elif self._ends_too_vaguely(running, now):
                return Decision(None, tuple(dropped))
            else:
                now = running.planned_end
        wakes: list[float] = []
        for lane in self._lanes_by_urgency():
            if not self._alone:
                dropped += self._refuse_all(lane, drop_late(lane, self.policy, now), now)
            formation = form(lane, self.policy, now)
            if formation.parts:
                return Decision(self._start(lane, formation.parts, start), tuple(dropped))
            if formation.wait_until is not None:
                wakes.append(formation.wait_until)
        return Decision(None, tuple(dropped), min(wakes, default=None))

    def at_once(self, bucket: Hashable, rows: int, requests: int, due_at: float, now: float) -> Batch | None:
        """The batch of all that arrived together, if `decide` would run just that; None where it has to be asked.

        For an executor that ends the batch before anything else can happen: the batch has no slices and never counts
        as running. `due_at` is when the first answer is due. To be ended by `complete_at_once`.
        """
        lane = self._lanes.known.get(bucket)
        if lane is None or not self._eager or self._entries or self._running:
            return None
        profile, capacity = lane.profile, lane.capacity
        if rows > capacity.batch_limit:
            return None
        if requests > 1 and now + profile.planned_seconds(rows) > due_at:
            return None
        if profile.best_size(rows) != rows and is_busy(lane, lane.arrivals.with_arrival(now, rows)):
            return None
        lane.arrivals.observe(now, rows)
        self._batches += 1
        padded = max(rows, profile.padded_size(rows))
        median, planned = profile.median_seconds(rows), profile.planned_seconds(rows)
        return Batch(self._batches, bucket, (), rows, padded, now, median, planned)

    def complete_at_once(self, batch: Batch, answers: int, late: int, now: float) -> None:
        """Learns from a batch of `at_once` with so many answers, of which `late` missed the target."""
        lane = self._lanes.known[batch.bucket]
        self._learn(lane, batch, answers, late, now)

    def expire(self, now: float) -> list[Refusal]:
        """Drops what cannot be answered in time any more. To be called by a timer as well, at `next_expiry`."""
        dropped: list[Refusal] = []
        if self._alone and now < self._first_entry.deadline_at:
            return dropped
        for lane in self._lanes.known.values():
            if lane.backlog.requests:
                dropped += self._refuse_all(lane, drop_hopeless(lane, now), now)
        return dropped

    def next_expiry(self) -> float | None:
        """When the next queued request becomes hopeless."""
        if self._alone:
            return self._first_entry.deadline_at
        return min(
            (
                lane.due(entry) - lane.remaining_seconds(entry)
                for lane in self._lanes.known.values()
                if (entry := lane.earliest()) is not None
            ),
            default=None,
        )

    def cancel(self, request_id: Hashable) -> bool:
        """Forgets a request whose client left. False when none of its rows wait (any more)."""
        known = self._entries.pop(request_id, None)
        if known is None:
            return False
        entry, lane = known
        lane.backlog.remove(entry)
        return True

    def complete(self, batch: Batch, now: float, learn: bool = True) -> None:
        """Frees the executor. `learn` is false for a batch that failed: its time says nothing."""
        del self._running[batch.id]
        self._residuals_at = _NEVER
        lane = self._lanes.known.get(batch.bucket)
        if lane is None or not learn:
            return
        ended = [part.target_at for part in batch.slices if part.stop == part.request.rows]
        self._learn(lane, batch, len(ended), sum([now > target_at for target_at in ended]), now)

    def _learn(self, lane: Lane, batch: Batch, answers: int, late: int, now: float) -> None:
        seconds, rate = now - batch.started_at, lane.arrivals.rows_per_second
        growth = lane.growth
        if growth is not None:
            self._note(lane, growth.observe(batch.rows, seconds, rate))
            if batch.tried:
                return  # what is late in it was tried, not planned wrongly
        changed = lane.profile.observe(batch.rows, seconds)
        if lane.shedding:
            changed |= self._compare_with_target(lane, answers, late)
        if changed:
            lane.capacity.refresh(rate)
        else:
            lane.capacity.follow(rate)

    @property
    def target_seconds(self) -> float:
        """From a request's offer to the end of its last batch; infinite without a target."""
        return self._target_seconds

    @property
    def aftermath_seconds(self) -> float:
        """What the slowest answers but one in twenty take after their batch, as far as was seen."""
        return self._aftermath.seconds

    def observe_answer(self, seconds: float) -> None:
        """An answer was on its way so long after its batch had ended. What that takes is no time for batches."""
        if not self._aftermath.observe(seconds) or self.policy.target is None:
            return
        target = self.policy.target.after(self._aftermath.seconds)
        if target == self._target_seconds:
            return
        self._target_seconds = target
        for lane in self._lanes.known.values():
            lane.capacity.plan_for(self._span, lane.arrivals.rows_per_second)

    @property
    def _span(self) -> float:
        """What batch sizes and queue lengths are planned for."""
        return min(self._target_seconds, self.policy.timeout_seconds)

    def refuse_size(self, bucket: Hashable, rows: int) -> None:
        """A batch of so many rows did not fit into the memory of the device: none as large is formed again. Where the
        size was only tried, those that ran before stay."""
        lane = self._lanes.known.get(bucket)
        if lane is None:
            return
        known = lane.capacity.largest
        self._forbid_growth(lane)
        if rows <= known:
            lane.capacity.limit(max(1, rows // 2), lane.arrivals.rows_per_second)

    def distrust_size(self, bucket: Hashable, rows: int) -> None:
        """A worker did not survive a batch of so many rows. Where the size was only tried, it may be to blame."""
        lane = self._lanes.known.get(bucket)
        if lane is not None and rows > lane.capacity.largest:
            self._forbid_growth(lane)

    def take_steps(self) -> list[tuple[Hashable, Step]]:
        """Sizes that were tried and decided on since the last call, by bucket."""
        steps, self._steps = self._steps, []
        return steps

    def _forbid_growth(self, lane: Lane) -> None:
        if lane.growth is not None:
            self._note(lane, lane.growth.forbid())

    def _note(self, lane: Lane, step: Step | None) -> None:
        if step is not None:
            self._steps.append((lane.bucket, step))

    def padded_size(self, bucket: Hashable, rows: int) -> int:
        """The size that so many rows are executed at."""
        lane = self._lanes.known.get(bucket)
        return max(rows, lane.profile.padded_size(rows)) if lane is not None else rows

    def predicted_wait_seconds(self, now: float) -> float:
        """How long one row that came now, into the bucket that was measured, would wait for its batch."""
        lane = self._lanes.reference
        entry = self._entry(Request(None), now)
        whole = finish_seconds(entry, lane, self._outlook(lane, entry, now), self.policy)
        return max(0.0, whole - lane.profile.median_seconds(1))

    def queued(self) -> list[Hashable]:
        """Ids of the requests that wait, the oldest first."""
        return list(self._entries)

    @property
    def lanes(self) -> Mapping[Hashable, Lane]:
        """By bucket: for metrics and the status."""
        return self._lanes.known

    @property
    def _alone(self) -> bool:
        """One request and nothing else to do: it is tried even if it is expected to be late, or a profile that is
        wrong would never be corrected."""
        return len(self._entries) == 1 and not self._running

    @property
    def _first_entry(self) -> Entry:
        return next(iter(self._entries.values()))[0]

    def _ends_too_vaguely(self, running: Batch, now: float) -> bool:
        """Whether requests that are chosen before the batch ends could be late, and wait better until it has ended."""
        spread_seconds = running.planned_seconds - running.predicted_seconds
        return now > running.planned_end or spread_seconds > _VAGUE_SHARE * self._target_seconds

    def _compare_with_target(self, lane: Lane, answers: int, late: int) -> bool:
        self._feedback.observe(answers, late, lane.profile.tail_factor)
        if abs(self._feedback.margin - lane.profile.margin) < MARGIN_STEP:
            return False
        lane.profile.set_margin(self._feedback.margin)
        return True

    def _start(self, lane: Lane, parts: Sequence[tuple[Entry, int]], now: float) -> Batch:
        slices = tuple(lane.backlog.take(entry, rows) for entry, rows in parts)
        for entry, _ in parts:
            if entry.gone:
                del self._entries[entry.request.id]
        rows = sum(part.stop - part.start for part in slices)
        self._batches += 1
        tried = lane.growth is not None and lane.growth.begin(rows)
        batch = Batch(
            id=self._batches,
            bucket=lane.bucket,
            slices=slices,
            rows=rows,
            padded_rows=max(rows, lane.profile.padded_size(rows)),
            started_at=now,
            predicted_seconds=lane.expected_seconds(rows),
            planned_seconds=lane.planned_seconds(rows),
            tried=tried,
        )
        self._running[batch.id] = batch
        self._residuals_at = _NEVER
        return batch

    def _refuse_all(self, lane: Lane, entries: Sequence[Entry], now: float) -> list[Refusal]:
        """`entries` have left the backlog already. A request whose first rows ran is refused as a whole."""
        refusals = []
        for entry in entries:
            del self._entries[entry.request.id]
            done = finish_seconds(entry, lane, self._outlook(lane, entry, now), self.policy)
            due_at = lane.due(entry)
            late = max(0.0, done - (due_at - entry.arrived_at))
            reason = Reason.DEADLINE_IN_QUEUE if due_at >= entry.deadline_at else Reason.PREDICTED_LATE
            refusals.append(Refusal(entry.request, reason, late))
        return refusals

    def _outlook(self, lane: Lane, entry: Entry, now: float) -> Outlook:
        if now != self._residuals_at:
            free = [0.0] * (self.policy.executors - len(self._running))
            busy = [max(0.0, batch.predicted_end - now) for batch in self._running.values()]
            # Those that were formed ahead follow on the executors that end first.
            self._residuals = (free + sorted(busy))[-self.policy.executors :]
            self._residuals_at = now
        other_seconds = 0.0
        if len(self._lanes.known) > 1:
            for other in self._lanes.known.values():
                if other is not lane and other.backlog.rows:
                    ahead = other.backlog.rows_up_to(entry.order)
                    other_seconds += other.profile.serial_seconds(ahead, other.capacity.batch_limit)
        return Outlook(len(self._entries), self._residuals, other_seconds / self.policy.executors)

    def _lanes_by_urgency(self) -> list[Lane]:
        """The lane whose head must start soonest goes first."""
        waiting = [lane for lane in self._lanes.known.values() if lane.backlog.requests]
        return waiting if len(waiting) < 2 else sorted(waiting, key=_latest_start)

    def _entry(self, request: Request, now: float) -> Entry:
        policy = self.policy
        timeout = policy.timeout_seconds
        if request.timeout_seconds is not None:
            timeout = min(timeout, request.timeout_seconds)
        target = min(self._target_seconds - request.waited_seconds, timeout)
        order = now + target - request.priority * self._priority_seconds
        return Entry(request, now, now + target, now + timeout, order, request.rows)


def _latest_start(lane: Lane) -> float:
    head = lane.backlog.head()
    assert head is not None
    return head.order - lane.profile.planned_seconds(min(lane.backlog.rows, lane.capacity.batch_limit))
