"""Chooses the rows of the next batch of one bucket, and the requests that cannot be served any more.

A late request is never fitted by shrinking its batch unless the rest still keeps up: small batches lower the
throughput, and the next ones would be later still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from slipway_runtime.batching.backlog import Entry
from slipway_runtime.batching.growth import Growth
from slipway_runtime.batching.lane import Lane
from slipway_runtime.batching.policy import BatchingPolicy
from slipway_runtime.contract import BatchingMode, Objective

_KEEPS_UP: Final = 1.05
"""Throughput over arrival rate of a shrunken batch that is worth running."""
_BUSY: Final = 0.7
"""Share of the capacity above which throughput counts more than one early row."""
_TIME_VALUE: Final = 0.8
"""Under overload a second of the executor is worth this share of what a full batch computes in it."""
_GUARD_SECONDS: Final = 0.001
"""How long before the latest start a deliberate wait ends."""


@dataclass(frozen=True, slots=True)
class Formation:
    parts: tuple[tuple[Entry, int], ...] = ()
    """Entries with the rows to take of each, in order."""
    wait_until: float | None = None


def may_wait(policy: BatchingPolicy) -> bool:
    """Whether a batch in mode Auto is ever held back on purpose."""
    if policy.max_queue_delay_seconds is not None:
        return True
    return policy.objective is Objective.EFFICIENCY and policy.target is not None


def is_busy(lane: Lane, rows_per_second: float) -> bool:
    """Whether so many arrivals make throughput count more than one early row."""
    return rows_per_second > _BUSY * lane.capacity.rows_per_second


def drop_hopeless(lane: Lane, now: float) -> list[Entry]:
    """Takes the entries out of the backlog that could not be answered in time even alone."""
    dropped = []
    while (entry := lane.earliest()) is not None:
        if now + lane.remaining_seconds(entry) <= lane.due(entry):
            break
        lane.backlog.remove(entry)
        dropped.append(entry)
    return dropped


def drop_late(lane: Lane, policy: BatchingPolicy, now: float) -> list[Entry]:
    """Drops heads that would force batches too small to keep up."""
    dropped: list[Entry] = []
    if policy.mode is not BatchingMode.AUTO or not lane.shedding:
        return dropped
    if lane.growth is not None:
        dropped = _drop_for_try(lane, lane.growth, now)
    while lane.backlog.rows and (late := _late_entry(lane, now)) is not None:
        lane.backlog.remove(late)
        dropped.append(late)
    return dropped


def form(lane: Lane, policy: BatchingPolicy, now: float) -> Formation:
    head = lane.backlog.head()
    if head is None:
        return Formation()
    if policy.mode is BatchingMode.DISABLED:
        return Formation(parts=((head, head.rows),))
    if policy.mode is BatchingMode.STATIC:
        return _form_static(lane, head, policy, now)
    return _form_auto(lane, head, policy, now)


def _form_static(lane: Lane, head: Entry, policy: BatchingPolicy, now: float) -> Formation:
    size = min(policy.max_batch_size, lane.capacity.largest)
    until = head.arrived_at + (policy.max_queue_delay_seconds or 0.0)
    if lane.backlog.rows < size and now < until:
        return Formation(wait_until=until)
    return Formation(parts=_fill(lane, size))


def _form_auto(lane: Lane, head: Entry, policy: BatchingPolicy, now: float) -> Formation:
    backlog, profile, capacity = lane.backlog, lane.profile, lane.capacity
    if lane.growth is not None and (parts := _try_larger(lane, lane.growth, now)):
        return Formation(parts=parts)
    size = min(backlog.rows, capacity.batch_limit)
    if size > 1:
        if lane.shedding:
            slack = lane.due(_most_urgent(lane, size)) - now
            size = max(1, profile.largest_within(slack, size))
        if size < backlog.rows or is_busy(lane, lane.arrivals.rows_per_second):
            size = profile.best_size(size)
    if size == backlog.rows and size < capacity.batch_limit:
        until = _wait_until(lane, head, size, policy, now)
        if until is not None:
            return Formation(wait_until=until)
    return Formation(parts=_fill(lane, size))


def _drop_for_try(lane: Lane, growth: Growth, now: float) -> list[Entry]:
    """Under overload those at the head never have the time for a larger batch, and as many are lost either way."""
    rate = lane.arrivals.rows_per_second
    size = growth.size(rate)
    if not size or rate <= lane.capacity.rows_per_second:
        return []
    until = now + growth.needed_seconds(size)
    late = [entry for entry in lane.backlog if lane.due(entry) < until]
    if lane.backlog.rows - sum(entry.rows for entry in late) < size:
        return []
    for entry in late:
        lane.backlog.remove(entry)
    return late


def _try_larger(lane: Lane, growth: Growth, now: float) -> tuple[tuple[Entry, int], ...]:
    """A batch of the size that is to be tried, where so many rows wait and all of them have the time; else nothing."""
    rows = lane.backlog.rows
    growth.look(rows, lane.arrivals.rows_per_second)
    size = growth.size(lane.arrivals.rows_per_second)
    if not size or rows < size:
        return ()
    if lane.shedding and now + growth.needed_seconds(size) > lane.due(_most_urgent(lane, size)):
        return ()
    parts = _fill(lane, size)
    return parts if growth.tells(sum(taken for _, taken in parts)) else ()


def _wait_until(lane: Lane, head: Entry, rows: int, policy: BatchingPolicy, now: float) -> float | None:
    if not may_wait(policy):
        return None
    delay = policy.max_queue_delay_seconds
    ends = []
    if delay is not None:
        ends.append(head.arrived_at + delay)
    if policy.target is not None:
        target_at = min(entry.target_at for entry in lane.backlog)
        ends.append(target_at - lane.profile.planned_seconds(rows + 1) - _GUARD_SECONDS)
    until = min(ends)
    return until if until > now else None


def _fill(lane: Lane, size: int) -> tuple[tuple[Entry, int], ...]:
    """Whole requests in order while they fit; one that is larger than any batch gives as many rows as fit."""
    limit = lane.capacity.batch_limit
    parts: list[tuple[Entry, int]] = []
    room = size
    for entry in lane.backlog:
        if entry.rows > room:
            if entry.rows > limit:
                parts.append((entry, room))
            elif not parts:
                parts.append((entry, entry.rows))
            break
        parts.append((entry, entry.rows))
        room -= entry.rows
        if room == 0:
            break
    return tuple(parts)


def _most_urgent(lane: Lane, rows: int) -> Entry:
    """The entry with the least time left among the first `rows` rows."""
    head = lane.backlog.head()
    assert head is not None
    if lane.backlog.in_deadline_order:
        return head
    return min(_prefix(lane, rows), key=lane.due)


def _prefix(lane: Lane, rows: int) -> Sequence[Entry]:
    entries = []
    for entry in lane.backlog:
        entries.append(entry)
        rows -= entry.rows
        if rows <= 0:
            break
    return entries


def _late_entry(lane: Lane, now: float) -> Entry | None:
    """The entry to drop now, None when the next batch can serve everyone in it."""
    backlog, profile = lane.backlog, lane.profile
    head = backlog.head()
    assert head is not None
    if now + lane.remaining_seconds(head) > lane.due(head):
        return head
    rows = min(backlog.rows, lane.capacity.batch_limit)
    urgent = _most_urgent(lane, rows)
    slack = lane.due(urgent) - now
    if profile.planned_seconds(rows) <= slack:
        return None
    size = profile.largest_within(slack, rows)
    if size < min(urgent.rows, lane.capacity.batch_limit):
        return urgent
    if size >= backlog.rows or size >= _sufficient_size(lane):
        return None
    overloaded = lane.arrivals.rows_per_second > lane.capacity.rows_per_second
    keep = _outweighs_dropping(lane, size, rows, now) if overloaded else _rest_keeps_up(lane, size, now)
    return None if keep else urgent


def _outweighs_dropping(lane: Lane, size: int, rows: int, now: float) -> bool:
    """Whether `size` rows with the late one now are worth more than a batch of up to `rows` without the late ones.

    Under overload some are lost either way, so what counts is rows computed less the time that takes.
    """
    backlog, profile, limit = lane.backlog, lane.profile, lane.capacity.batch_limit
    size, rows = profile.best_size(size), profile.best_size(rows)
    due_at = now + profile.planned_seconds(rows)
    late = sum(entry.rows for entry in backlog if lane.due(entry) < due_at)
    fresh = min(rows, backlog.rows - late)
    rate = _TIME_VALUE * limit / profile.median_seconds(limit)
    return fresh <= 0 or size - rate * profile.median_seconds(size) >= fresh - rate * profile.median_seconds(fresh)


def _rest_keeps_up(lane: Lane, size: int, now: float) -> bool:
    """Whether after a batch of `size` rows the next one, grown meanwhile, is still in time for its head."""
    backlog, profile = lane.backlog, lane.profile
    taken = profile.median_seconds(size)
    arriving = lane.arrivals.rows_per_second * taken
    following = min(int(backlog.rows - size + arriving) + 1, lane.capacity.batch_limit)
    return lane.due(_entry_after(lane, size)) - (now + taken) >= profile.planned_seconds(following)


def _entry_after(lane: Lane, rows: int) -> Entry:
    if lane.backlog.requests == lane.backlog.rows:
        return next(islice(lane.backlog, rows, None))
    return _prefix(lane, rows + 1)[-1]


def _sufficient_size(lane: Lane) -> int:
    """The smallest batch whose throughput covers the arrivals, the largest where none does."""
    limit = lane.capacity.batch_limit
    rate = _KEEPS_UP * lane.arrivals.rows_per_second
    return next((n for n in range(1, limit) if n >= rate * lane.profile.median_seconds(n)), limit)
