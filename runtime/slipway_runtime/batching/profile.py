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

import numpy as np
from numpy.typing import NDArray

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
_DRIFT_WINDOW: Final = 16
_DRIFT_BAND: Final = (0.9, 1.1)
_REFRESH_EVERY: Final = 16
_REFRESH_SECONDS: Final = 0.02
"""Nor sooner than after batches of this time together: learning should cost a small share of what it is about."""
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
        self._indices = np.array(self._padded)
        self._local: list[float] = self._prior.tolist()
        self._visits = [0] * len(self._local)
        ratios = [run / medians[size] for size, runs in points.items() for run in runs]
        self._ratios: deque[float] = deque(ratios, maxlen=_RATIOS)
        self._recent: deque[float] = deque(maxlen=_DRIFT_WINDOW)
        self._recent_faster = 0
        self._recent_slower = 0
        self._scale = 1.0
        self._margin = 1.0
        self._batches = 0
        self._drifted_at = -_RATIOS - 1
        """By the count of batches."""
        self._learned_seconds = 0.0
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

    @property
    def scale(self) -> float:
        """All drifts together: the hardware's times over those of the start."""
        return self._scale

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
        self._ratios.append(min(_RATIO_LIMIT, ratio))
        self._learn(size, seconds)
        if self._has_drifted(ratio):
            self._rescale()
            return True
        self._learned_seconds += seconds
        if self._batches % _REFRESH_EVERY == 0 and self._learned_seconds >= _REFRESH_SECONDS:
            self._refresh()
            return True
        return False

    def grow(self, max_batch_size: int, runs: Sequence[float]) -> None:
        """Larger batches exist from now on: what is known becomes the seed, and `runs` of that size continue it."""
        last, known = self.max_batch_size, median(runs)
        between = np.linspace(self._medians[last], max(known, self._medians[last]), max_batch_size - last + 1)[1:]
        self._local += between.tolist()
        self._visits += [0] * (max_batch_size - last - 1) + [len(runs)]
        self._prior = np.concatenate([self._curve[: last + 1], between]) / self._scale
        self._padded += range(last + 1, max_batch_size + 1)
        self._indices = np.array(self._padded)
        self.max_batch_size = max_batch_size
        self._refresh()

    def set_margin(self, margin: float) -> None:
        self._margin = margin
        self._plan()

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
        visits = self._visits[size]
        if visits:
            known = self._local[size]
            gain = _EARLY_GAIN if visits < _EARLY_VISITS else _LATE_GAIN
            self._local[size] = known + gain * (min(seconds, _SPIKE * known) - known)
        else:
            self._local[size] = seconds
        self._visits[size] += 1

    def _has_drifted(self, ratio: float) -> bool:
        """Whether the middle of the recent ratios is outside the band, told from how many of them are."""
        recent, (low, high) = self._recent, _DRIFT_BAND
        if len(recent) == _DRIFT_WINDOW:
            self._recent_faster -= recent[0] < low
            self._recent_slower -= recent[0] > high
        recent.append(ratio)
        self._recent_faster += ratio < low
        self._recent_slower += ratio > high
        if len(recent) < _DRIFT_WINDOW:
            return False
        return self._recent_faster > _DRIFT_WINDOW // 2 or self._recent_slower >= _DRIFT_WINDOW - _DRIFT_WINDOW // 2

    def _rescale(self) -> None:
        drift = sorted(self._recent)[_DRIFT_WINDOW // 2]
        self._scale *= drift
        self._local = [seconds * drift for seconds in self._local]
        if self._batches - self._drifted_at > _RATIOS:
            # Of a change that is rare the wrong predictions say nothing; those of a machine that wavers are its tail.
            before = list(self._ratios)[:-_DRIFT_WINDOW]
            self._ratios = deque([*before, *(ratio / drift for ratio in self._recent)], maxlen=_RATIOS)
        self._drifted_at = self._batches
        self._recent.clear()
        self._recent_faster = self._recent_slower = 0
        self.drifts += 1
        self._refresh()

    def _refresh(self) -> None:
        self._learned_seconds = 0.0
        visits, local = np.array(self._visits), np.array(self._local)
        seeded = _PRIOR_WEIGHT * self._prior * self._corrections(visits, local)
        at_size = np.maximum.accumulate((visits * local + seeded) / (visits + _PRIOR_WEIGHT))
        self._curve = at_size[self._indices]
        self._medians: list[float] = self._curve.tolist()
        self._best = _best_sizes(self._curve)
        self._tail = max(_LEAST_TAIL, self._estimate_tail())
        self._plan()

    def _plan(self) -> None:
        factor = max(_LEAST_MARGIN, self._tail * self._margin)
        self._planned: list[float] = (self._curve * factor).tolist()

    def _corrections(self, visits: NDArray[np.int64], local: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the seeded curve is multiplied by at each size: as at the nearest sizes that ran, in proportion.

        Otherwise a size that looked slow when it was measured would never run, and never be found to be faster.
        """
        known = np.flatnonzero(visits)
        if not len(known):
            return np.full(len(self._prior), self._scale)
        weights = visits[known] / (visits[known] + _NEIGHBOUR_WEIGHT)
        corrections = self._scale + weights * (local[known] / self._prior[known] - self._scale)
        return np.interp(np.arange(len(self._prior)), known, corrections)

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


def _interpolate(medians: Mapping[int, float], padded: Sequence[int]) -> NDArray[np.float64]:
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
    return np.array(seconds)


def _best_sizes(medians: NDArray[np.float64]) -> list[int]:
    rows = np.arange(len(medians))
    throughput = np.zeros(len(medians))
    np.divide(rows[1:], medians[1:], out=throughput[1:])
    best = np.maximum.accumulate(np.where(throughput >= np.maximum.accumulate(throughput), rows, 0))
    best[0] = 1
    sizes: list[int] = best.tolist()
    return sizes


def _quantile(ordered: Sequence[float], quantile: float) -> float:
    if not ordered:
        return 1.0
    position = quantile * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])
