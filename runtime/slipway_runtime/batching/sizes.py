"""Which batch sizes are measured before traffic, and when that stops."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final

LEAST_GAIN: Final = 1.05
"""A doubling that adds less throughput than this is not worth its latency."""
_DEAR_SHARE: Final = 1 / 20
"""Of the budget: where one size takes more, only powers of two follow."""
_REACH: Final = 8
"""Up to this many times the size that paid last it is looked whether a larger one pays, when the next did not: two rows
may be multiplied by other code than one, and slower, while eight take hardly longer than two."""
DISCOVERY_LIMIT: Final = 1024
"""The largest size that is tried when no maxBatchSize is given."""
PATIENCE: Final = 0.25
"""Share of the request timeout that one batch may take where there is no latency target."""


def ladder(max_batch_size: int, allowed: Sequence[int] = ()) -> list[int]:
    """Ascending sizes 2^i, 2^i + 1 and 1.5 * 2^i: the ones after a power of two show steps from padding."""
    if allowed:
        return [size for size in allowed if size <= max_batch_size] or [max_batch_size]
    sizes = {max_batch_size}
    power = 1
    while power <= max_batch_size:
        sizes |= {size for size in (power, power + 1, power * 3 // 2) if size <= max_batch_size}
        power *= 2
    return sorted(sizes)


class WarmUpPlan:
    """Hands out sizes to measure and takes the results; the caller runs the model.

    With neither a maximum nor allowed sizes given, sizes grow until one takes longer than `limit_seconds` or neither a
    doubling nor two more pay; the last size that paid is then `max_batch_size`. `budget_seconds` bounds the measured
    time of all runs together. From `step` rows on the model is run in another way, which is worth most well above that
    size: up to twice as many rows each size that time and memory allow counts as one that pays.
    """

    def __init__(
        self,
        max_batch_size: int | None,
        allowed: Sequence[int] = (),
        limit_seconds: float | None = None,
        budget_seconds: float = 10.0,
        *,
        step: int = 0,
    ) -> None:
        self._given = max_batch_size or (max(allowed) if allowed else None)
        self._allowed = allowed
        self._sizes = ladder(self._given or DISCOVERY_LIMIT, allowed)
        self._limit = limit_seconds
        self._step = step
        self._budget = self._whole_budget = budget_seconds
        self._next = 0
        self.looking = False
        """The next size is beyond one that did not pay: a few runs tell enough."""
        self.points: dict[int, tuple[float, ...]] = {}
        self.max_batch_size = self._given or 1
        self.ceiling = self._given or DISCOVERY_LIMIT
        """What the largest batch may grow to while serving."""

    def next_size(self) -> int | None:
        """None when enough is known."""
        if self._next >= len(self._sizes) or self._budget <= 0:
            return None
        return self._sizes[self._next]

    def record(self, size: int, runs_seconds: Sequence[float]) -> None:
        self.points[size] = tuple(runs_seconds)
        spent = sum(runs_seconds)
        self._budget -= spent
        self._next += 1
        if spent > _DEAR_SHARE * self._whole_budget:
            self._skip_to_power()
        if self._given is not None:
            return
        if self._pays(size):
            self.max_batch_size = size
            self.looking = False
        elif size >= 2 * self.max_batch_size:
            self._look_beyond(size)

    def bound(self, rows: int | None) -> None:
        """The largest batch does not grow beyond so many rows while serving; None bounds nothing."""
        if rows is not None:
            self.ceiling = max(self.max_batch_size, min(self.ceiling, rows))

    def refuse(self, size: int) -> None:
        """The size cannot run at all (out of memory): nothing larger is tried."""
        self._next = len(self._sizes)
        smaller = [known for known in self.points if known < size]
        self.max_batch_size = self.ceiling = min(self.max_batch_size, max(smaller, default=1))

    def _skip_to_power(self) -> None:
        """Sizes between are learned from traffic. Of a slow model the larger ones are worth more to know."""
        last = len(self._sizes) - 1
        while not self._allowed and self._next < last and self._sizes[self._next].bit_count() > 1:
            self._next += 1

    def _look_beyond(self, size: int) -> None:
        """Goes on with the next power of two, unless that is too far or would take too long."""
        self._skip_to_power()
        self.looking = True
        if self._next == len(self._sizes):
            return
        candidate = self._sizes[self._next]
        seconds = min(self.points[size]) * candidate / size
        if candidate > _REACH * self.max_batch_size or seconds > _DEAR_SHARE * self._whole_budget:
            self._next = len(self._sizes)

    def _pays(self, size: int) -> bool:
        seconds = median(self.points[size])
        if self._limit is not None and seconds > self._limit:
            self._next = len(self._sizes)
            return False
        if size <= max(1, 2 * self._step):
            return True
        # The quickest runs: what else a busy machine does only makes runs longer.
        known = self.max_batch_size
        return size / min(self.points[size]) >= known / min(self.points[known]) * LEAST_GAIN
