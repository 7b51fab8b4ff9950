"""The queued requests of one bucket, in the order they are served: earliest deadline first, priorities moved ahead.

A priority moves the deadline that the order looks at, not the request itself, by a fixed span per step. So a request
of low priority is overtaken only by requests that arrive within that span, and cannot starve.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import islice
from typing import Final

from slipway_runtime.batching.work import Request, Slice

_COMPACT_AT: Final = 256
"""Served entries at the front are cut off this many at a time, so that serving costs constant time each."""


@dataclass(slots=True, eq=False)
class Entry:
    request: Request
    arrived_at: float
    target_at: float
    """Due by the latency target, or by the hard deadline where that is sooner."""
    deadline_at: float
    """Nobody waits for the answer any longer."""
    order: float
    rows: int
    """That are not in a batch yet."""
    gone: bool = False
    """Taken whole, dropped or cancelled."""

    def take(self, rows: int) -> Slice:
        start = self.request.rows - self.rows
        self.rows -= rows
        return Slice(self.request, start, start + rows, self.target_at)


@dataclass(slots=True, eq=False)
class Backlog:
    requests: int = 0
    rows: int = 0
    _entries: list[Entry] = field(default_factory=list)
    _first: int = 0
    _prioritised: int = 0
    _by_due: list[tuple[float, int, Entry]] = field(default_factory=list)
    _pushed: int = 0

    def __iter__(self) -> Iterator[Entry]:
        return (entry for entry in islice(self._entries, self._first, None) if not entry.gone)

    @property
    def in_deadline_order(self) -> bool:
        return self._prioritised == 0

    def head(self) -> Entry | None:
        entries = self._entries
        while self._first < len(entries) and entries[self._first].gone:
            self._first += 1
        if self._first >= _COMPACT_AT or self._first == len(entries):
            del entries[: self._first]
            self._first = 0
        return entries[self._first] if entries else None

    def add(self, entry: Entry, due_at: float) -> None:
        entries = self._entries
        if not entries or entries[-1].order <= entry.order:
            entries.append(entry)
        else:
            entries.insert(bisect_right(entries, entry.order, lo=self._first, key=_order), entry)
        self.requests += 1
        self.rows += entry.rows
        self._prioritised += entry.request.priority != 0
        heappush(self._by_due, (due_at, self._pushed, entry))
        self._pushed += 1

    def take(self, entry: Entry, rows: int) -> Slice:
        self.rows -= rows
        part = entry.take(rows)
        if entry.rows == 0:
            self._leave(entry)
        return part

    def remove(self, entry: Entry) -> None:
        self.rows -= entry.rows
        self._leave(entry)

    def rows_up_to(self, order: float) -> int:
        """Rows that are served before a newcomer of this order."""
        entries = self._entries
        if not entries or entries[-1].order <= order:
            return self.rows
        behind = bisect_right(entries, order, lo=self._first, key=_order)
        return self.rows - sum(entry.rows for entry in islice(entries, behind, None) if not entry.gone)

    def earliest(self) -> Entry | None:
        heap = self._by_due
        while heap and heap[0][2].gone:
            heappop(heap)
        return heap[0][2] if heap else None

    def _leave(self, entry: Entry) -> None:
        entry.gone = True
        self.requests -= 1
        self._prioritised -= entry.request.priority != 0
        if not self.requests:
            # Entries that left are skipped when they come to the front; lone ones never do, and nothing may pile up.
            self._entries.clear()
            self._by_due.clear()
            self._first = 0


def _order(entry: Entry) -> float:
    return entry.order
