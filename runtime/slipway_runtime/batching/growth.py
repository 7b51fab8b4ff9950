"""Lets the largest batch of a bucket grow beyond what the start had the time, or the quiet, to measure.

One step at a time: a size of at most twice the limit runs on real requests, every other batch, until it is known
whether it computes more rows per second. What pays becomes the limit, what does not is not tried again until the
hardware changes, and what the memory does not hold never.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from slipway_runtime.batching.capacity import Capacity
from slipway_runtime.batching.profile import ExecutionProfile
from slipway_runtime.batching.sizes import LEAST_GAIN

_PATIENCE: Final = 4
"""So many batches in a row have to leave rows behind, or run while more arrive than they compute."""
_SETTLING_RUNS: Final = 1
"""Of a new size on each executor, not counted: compilers and allocators meet it there. A second slow one is no matter,
as the quick runs are compared."""
_RUNS: Final = 8
_LEAST_RUNS: Final = 2
"""Enough to see that a size is slower per row."""
_QUICK_SHARE: Final = 0.25
"""The quartile of the times that sizes are compared by: what else a busy machine does only makes runs longer."""
_WAITS: Final = 32
"""After so many batches that the target leaves no room for the tried size, a smaller one is."""
_CARE: Final = 1.5
_UNUSED: Final = 32
"""Batches that could have been a try, had their requests had more time."""
_CHANGE: Final = 1.25
"""By this factor the hardware's times have to change before a size that did not pay is tried again."""
_LEAST_STEP: Final = 1 / 8
"""Of the limit: a smaller step cannot pay."""
_ALMOST: Final = 0.9
"""A batch of this share of a size tells about it: whole requests rarely add up."""


@dataclass(frozen=True, slots=True)
class Step:
    """A size that was tried, and what came of it."""

    rows_before: int
    rows: int
    kept: bool
    gain: float | None = None
    """Rows per second over those of the size before, less 1; None when the size could not be run."""


class Growth:
    """`ceiling` is the largest size that is ever tried. `executors` run batches at the same time."""

    def __init__(self, profile: ExecutionProfile, capacity: Capacity, ceiling: int, executors: int) -> None:
        self._profile = profile
        self._capacity = capacity
        self._ceiling = ceiling
        self._settling = _SETTLING_RUNS * executors
        self._pressure = 0
        self._resting = False
        """An ordinary batch runs between two tries: it is what they are compared with."""
        self._failed = 0
        """The largest size that did not pay, while nothing changed since."""
        self._hopeless = 0.0
        self._scale = profile.scale
        """Of the hardware's times, when what did not pay was last known to hold."""
        self._top = ceiling
        """What the target leaves room for, as was seen, while nothing changed since."""
        self._tried = self._seen = self._waits = self._unused = 0
        self._runs: list[float] = []
        self._usual: deque[float] = deque(maxlen=_RUNS)

    @property
    def _limit(self) -> int:
        return self._capacity.largest

    def look(self, waiting_rows: int, rows_per_second: float) -> None:
        """To be called before each batch is formed."""
        capacity = self._capacity
        short = waiting_rows > self._limit or rows_per_second > capacity.rows_per_second
        self._pressure = self._pressure + 1 if short and capacity.batch_limit == self._limit else 0

    def size(self, rows_per_second: float) -> int:
        """What to try with the next batch, if its requests have the time; 0 for nothing."""
        if self._pressure < _PATIENCE or self._resting or self._limit >= self._ceiling:
            return 0
        if self._has_changed():
            self._forget()
        if not self._tried:
            return self._candidate(rows_per_second)
        if self._allows(self._tried, rows_per_second):
            self._waits = 0
            return self._tried
        self._waits += 1
        if self._waits > _WAITS:
            self._top = (self._limit + self._tried) // 2
            self._drop_try()
        return 0

    def expected_seconds(self, rows: int) -> float:
        """Median time of a size beyond the limit: as it was seen, or along the line through the upper half of those
        below."""
        if self._runs and rows <= self._tried:
            return max(self._profile.median_seconds(self._limit), median(self._runs))
        limit, half = self._limit, self._limit // 2
        known = self._profile.median_seconds(limit)
        per_row = (known - (self._profile.median_seconds(half) if half else 0.0)) / (limit - half)
        return known + per_row * (rows - limit)

    def planned_seconds(self, rows: int) -> float:
        """Exceeded about as often as the target's quantile allows."""
        profile, limit = self._profile, self._limit
        tail = profile.planned_seconds(limit) / profile.median_seconds(limit)
        return self.expected_seconds(rows) * tail

    def needed_seconds(self, rows: int) -> float:
        """What the requests of such a batch have to have left. Of a size that never ran a careful guess, unless only
        few ever have that much."""
        careful = not self._runs and self._unused < _UNUSED
        return self.planned_seconds(rows) * (_CARE if careful else 1.0)

    def tells(self, rows: int) -> bool:
        """Whether a batch of `rows` says something of the size that is to be tried, which is its own at first."""
        return rows >= _ALMOST * self._tried if self._tried else rows >= self._least_step()

    def begin(self, rows: int) -> bool:
        """A batch of `rows` was formed. True when it is a try: above the limit, because `size` told so."""
        if rows <= self._limit:
            self._unused += self._pressure >= _PATIENCE and not self._resting
            self._resting = False
            return False
        self._resting = True
        if not self._tried:
            self._tried = rows
        return True

    def observe(self, rows: int, seconds: float, rows_per_second: float) -> Step | None:
        """Learns from a batch of about the limit or above it; a step when a size was decided on."""
        if rows <= self._limit:
            if rows > self._limit / 2:  # requests of several rows may leave that much room in each
                self._usual.append(seconds * self._limit / rows)
            return None
        if not _ALMOST * self._tried <= rows <= self._tried:
            return None
        self._seen += 1
        if self._seen <= self._settling:
            return None
        self._runs.append(seconds * self._tried / rows)
        return self._decide(rows_per_second)

    def forbid(self) -> Step | None:
        """Nothing above the limit is tried any more: it did not fit, or no worker survived it."""
        self._ceiling = self._limit
        if not self._tried:
            return None
        step = Step(self._limit, self._tried, kept=False)
        self._drop_try()
        return step

    def _decide(self, rows_per_second: float) -> Step | None:
        if len(self._runs) < _LEAST_RUNS or len(self._usual) < _LEAST_RUNS:
            return None
        limit, size = self._limit, self._tried
        gain = size / _quick(self._runs) * _quick(self._usual) / limit - 1
        if gain > 1 - LEAST_GAIN and len(self._runs) < _RUNS:
            return None
        kept = gain >= LEAST_GAIN - 1
        if kept:
            self._profile.grow(size, self._runs)
            self._capacity.grow(size, rows_per_second)
            self._usual.clear()
            self._usual.extend(self._runs)
            self._top = self._ceiling
        self._failed = 0 if kept else size
        self._scale = self._profile.scale
        # Times never fall as sizes grow, so up to this size none can be enough faster per row.
        self._hopeless = 0.0 if kept else size * LEAST_GAIN / (1 + gain)
        self._drop_try()
        return Step(limit, size, kept, gain)

    def _candidate(self, rows_per_second: float) -> int:
        """The next of 1.5 and 2 times a power of two, or less where the target wants that."""
        limit = self._limit
        power = 1 << (max(limit, self._failed).bit_length() - 1)
        least = self._least_step()
        rung = next((size for size in (power * 3 // 2, power * 2, power * 3) if size >= least), 0)
        sizes = range(limit + 1, min(rung, 2 * limit, self._top, self._ceiling) + 1)
        for rate in (0.0, rows_per_second):  # what the load of a moment allows it may forbid in the next
            largest = limit + bisect_left(sizes, True, key=lambda size: not self._allows(size, rate))
            if largest >= least:
                return largest
        return 0

    def _least_step(self) -> float:
        known = max(self._limit, self._failed)
        return max(known + max(1.0, _LEAST_STEP * known), self._hopeless)

    def _allows(self, rows: int, rows_per_second: float) -> bool:
        return self._capacity.allows(rows, self.expected_seconds(rows), self.planned_seconds(rows), rows_per_second)

    def _has_changed(self) -> bool:
        """Not for each drift: on a busy machine times go up and down all day."""
        change = self._profile.scale / self._scale
        return not 1 / _CHANGE < change < _CHANGE

    def _forget(self) -> None:
        self._failed, self._hopeless, self._top = 0, 0.0, self._ceiling
        self._scale = self._profile.scale

    def _drop_try(self) -> None:
        self._tried = self._seen = self._waits = self._unused = 0
        self._runs = []


def _quick(runs: Sequence[float]) -> float:
    return sorted(runs)[int(_QUICK_SHARE * len(runs))]
