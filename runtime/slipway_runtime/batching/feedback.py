"""Compares answers with the target and says how cautious planning must be."""

from __future__ import annotations

from typing import Final

_WINDOW_ANSWERS: Final = 200
_RAISE: Final = 1.04
_LOWER: Final = 0.02
_MOST: Final = 1.6


class LateFeedback:
    def __init__(self, quantile: float) -> None:
        self._allowed = 1 - quantile
        self._late = 0
        self._answers = 0

    def observe(self, late: bool) -> None:
        self._answers += 1
        self._late += late

    def adjust(self, margin: float, tail_factor: float) -> float | None:
        """The new margin once a window of answers is complete, None before."""
        if self._answers < _WINDOW_ANSWERS:
            return None
        share = self._late / self._answers
        self._late = self._answers = 0
        if share > self._allowed:
            return min(_MOST, margin * _RAISE)
        if share < self._allowed / 2:
            return max(1.0 / tail_factor, margin - _LOWER)
        return margin
