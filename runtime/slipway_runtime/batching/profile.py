"""How long a batch of n rows takes: seeded by warm-up runs, kept true by every batch that runs.

Two curves over n, both non-decreasing: `median_seconds`, and `planned_seconds`, which a batch exceeds about as often
as the target's quantile allows. A step change of the hardware (throttling, a noisy neighbour) rescales the whole
curve, so that sizes that did not run lately are right as well.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import accumulate
from statistics import NormalDist, median
from typing import Final

_PRIOR_WEIGHT: Final = 4.0
"""A size's own observations weigh as much as the seeded curve after this many."""
_NEIGHBOUR_WEIGHT: Final = 10.0
"""And as much as it for the sizes beside them, which did not run, after this many."""
_EARLY_VISITS: Final = 20
_EARLY_GAIN: Final = 0.2
_LATE_GAIN: Final = 0.05
_SPIKE: Final = 1.5
"""A single run counts for the median at most this many times the median; the tail counts it whole."""
_RATIO_LIMIT: Final = 5.0
_RATIOS: Final = 512
_KEPT_RATIOS: Final = 64
_DRIFT_WINDOW: Final = 16
_DRIFT_BAND: Final = (0.9, 1.1)
_REFRESH_EVERY: Final = 16
_ONE_SIGMA: Final = 0.8413
"""The quantile of a normal distribution one deviation above its middle."""
_LEAST_TAIL: Final = 1.05
_LEAST_MARGIN: Final = 1.02


class ExecutionProfile:
    """`points` holds warm-up runs per batch size, in seconds; sizes between them are interpolated.

    `settling` batches after start are not learned from: a compiler or an allocator may still be at work.
    """

    def __init__(
        self,
        max_batch_size: int,
        points: Mapping[int, Sequence[float]],
        allowed: Sequence[int] = (),
        quantile: float = 0.99,
        settling: int = 8,
    ) -> None:
        self.max_batch_size = max_batch_size
        self._quantile = quantile
        self._settling = settling
        self._padded = _padded_sizes(max_batch_size, allowed)
        medians = {size: median(runs) for size, runs in sorted(points.items())}
        self._prior = _interpolate(medians, self._padded)
        self._local = list(self._prior)
        self._visits = [0] * len(self._prior)
        ratios = [run / medians[size] for size, runs in points.items() for run in runs]
        self._ratios: deque[float] = deque(ratios, maxlen=_RATIOS)
        self._recent: deque[float] = deque(maxlen=_DRIFT_WINDOW)
        self._scale = 1.0
        self._margin = 1.0
        self._batches = 0
        self.drifts = 0
        self._refresh()

    @property
    def tail_factor(self) -> float:
        """The target's quantile of time over median time."""
        return self._tail

    @property
    def margin(self) -> float:
        """What the feedback of late answers multiplies the tail factor by."""
        return self._margin

    def padded_size(self, rows: int) -> int:
        return self._padded[min(rows, self.max_batch_size)]

    def median_seconds(self, rows: int) -> float:
        return self._medians[min(rows, self.max_batch_size)]

    def planned_seconds(self, rows: int) -> float:
        return self._planned[min(rows, self.max_batch_size)]

    def serial_seconds(self, rows: int, batch_size: int) -> float:
        """Median time of `rows` rows in batches of `batch_size`, one after another."""
        whole, rest = divmod(rows, batch_size)
        return whole * self._medians[batch_size] + self._medians[rest]

    def largest_within(self, seconds: float, limit: int) -> int:
        """The largest size up to `limit` that is planned to take no longer; 0 when even one row is."""
        return max(0, bisect_right(self._planned, seconds, hi=limit + 1) - 1)

    def best_size(self, limit: int) -> int:
        """The size up to `limit` with the most rows per second: just before a padding step, not just after it."""
        return self._best[limit]

    def observe(self, rows: int, seconds: float) -> bool:
        """Learns from one batch. True when the curves changed."""
        self._batches += 1
        if self._batches <= self._settling:
            return False
        size = self.padded_size(rows)
        ratio = seconds / self._medians[size]
        self._ratios.append(min(ratio, _RATIO_LIMIT))
        self._recent.append(ratio)
        self._learn(size, seconds)
        if len(self._recent) == _DRIFT_WINDOW and self._rescale_on_drift():
            return True
        if self._batches % _REFRESH_EVERY == 0:
            self._refresh()
            return True
        return False

    def set_margin(self, margin: float) -> None:
        self._margin = margin
        self._refresh()

    def scaled_points(self, factor: float) -> dict[int, tuple[float, ...]]:
        """A first guess for rows that are `factor` times as large: the part that grows with n grows with it."""
        fixed = 2 * self._medians[1] - self._medians[2] if self.max_batch_size > 1 else 0.0
        fixed = min(max(fixed, 0.0), self._medians[1])
        sizes = sorted(set(self._padded[1:]))
        return {size: (fixed + (self._medians[size] - fixed) * factor,) for size in sizes}

    def curve(self) -> dict[int, tuple[float, float]]:
        """Median and planned seconds of each size that was executed or can be: for metrics and the status."""
        return {size: (self._medians[size], self._planned[size]) for size in sorted(set(self._padded[1:]))}

    def _learn(self, size: int, seconds: float) -> None:
        known = self._local[size]
        if self._visits[size]:
            gain = _EARLY_GAIN if self._visits[size] < _EARLY_VISITS else _LATE_GAIN
            self._local[size] = known + gain * (min(seconds, _SPIKE * known) - known)
        else:
            self._local[size] = seconds
        self._visits[size] += 1

    def _rescale_on_drift(self) -> bool:
        drift = sorted(self._recent)[_DRIFT_WINDOW // 2]
        if _DRIFT_BAND[0] <= drift <= _DRIFT_BAND[1]:
            return False
        self._scale *= drift
        self._local = [seconds * drift for seconds in self._local]
        self._ratios = deque([ratio / drift for ratio in list(self._ratios)[-_KEPT_RATIOS:]], maxlen=_RATIOS)
        self._recent.clear()
        self.drifts += 1
        self._refresh()
        return True

    def _refresh(self) -> None:
        blended = [
            (visits * local + _PRIOR_WEIGHT * prior * correction) / (visits + _PRIOR_WEIGHT)
            for visits, local, prior, correction in zip(
                self._visits, self._local, self._prior, self._corrections(), strict=True
            )
        ]
        at_size = list(accumulate(blended, max))
        self._medians = [at_size[size] for size in self._padded]
        self._tail = max(_LEAST_TAIL, self._estimate_tail())
        factor = max(_LEAST_MARGIN, self._tail * self._margin)
        self._planned = [seconds * factor for seconds in self._medians]
        self._best = _best_sizes(self._medians)

    def _corrections(self) -> list[float]:
        """What the seeded curve is multiplied by at each size: as at the nearest sizes that ran, in proportion.

        Otherwise a size that looked slow when it was measured would never run, and never be found to be faster.
        """
        known = {
            size: self._scale + visits / (visits + _NEIGHBOUR_WEIGHT) * (local / prior - self._scale)
            for size, (visits, local, prior) in enumerate(zip(self._visits, self._local, self._prior, strict=True))
            if visits
        }
        if not known:
            return [self._scale] * len(self._prior)
        sizes = sorted(known)
        corrections, upper = [], 0
        for size in range(len(self._prior)):
            while upper < len(sizes) - 1 and sizes[upper] < size:
                upper += 1
            low, high = sizes[max(0, upper - 1)], sizes[upper]
            share = min(1.0, max(0.0, (size - low) / (high - low))) if high > low else 0.0
            corrections.append(known[low] + share * (known[high] - known[low]))
        return corrections

    def _estimate_tail(self) -> float:
        """The quantile as it was seen, as far as there are enough runs to see it; for the rest, the one that their
        spread would have without outliers, because a few runs with one spike among them tell nothing about a tail."""
        ordered = sorted(self._ratios)
        seen = len(ordered) / _RATIOS
        middle, upper = _quantile(ordered, 0.5), _quantile(ordered, _ONE_SIGMA)
        regular = middle + (upper - middle) * NormalDist().inv_cdf(self._quantile)
        return seen * _quantile(ordered, self._quantile) + (1 - seen) * regular


def _padded_sizes(max_batch_size: int, allowed: Sequence[int]) -> list[int]:
    """Index n holds the size that n rows are executed at; index 0 is 0."""
    ascending = sorted(size for size in allowed if size <= max_batch_size)
    padded, position = [0], 0
    for rows in range(1, max_batch_size + 1):
        while position < len(ascending) and ascending[position] < rows:
            position += 1
        padded.append(ascending[position] if position < len(ascending) else rows)
    return padded


def _interpolate(medians: Mapping[int, float], padded: Sequence[int]) -> list[float]:
    """Seconds per size, linear between known sizes; outside them the nearest known size's time per row holds."""
    sizes = sorted(medians)
    rising = dict(zip(sizes, accumulate((medians[size] for size in sizes), max), strict=True))
    seconds, upper = [0.0], 0
    for size in range(1, len(padded)):
        while upper < len(sizes) and sizes[upper] < size:
            upper += 1
        if upper == len(sizes):
            seconds.append(rising[sizes[-1]] * size / sizes[-1])
        elif sizes[upper] == size or upper == 0:
            seconds.append(rising[sizes[upper]])
        else:
            low, high = sizes[upper - 1], sizes[upper]
            share = (size - low) / (high - low)
            seconds.append(rising[low] + share * (rising[high] - rising[low]))
    return seconds


def _best_sizes(medians: Sequence[float]) -> list[int]:
    best, throughput, sizes = 1, 0.0, [1]
    for rows in range(1, len(medians)):
        if rows / medians[rows] >= throughput:
            best, throughput = rows, rows / medians[rows]
        sizes.append(best)
    return sizes


def _quantile(ordered: Sequence[float], quantile: float) -> float:
    if not ordered:
        return 1.0
    position = quantile * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])
