"""Compares answers with the target and says how cautious planning must be.

The margin settles where the late share of answers is `_AIM` of what the target allows: a late answer raises it, every
other lowers it, in the proportion that cancels out there. A whole batch of late answers weighs as many, and so the
rule holds however lateness clusters.
"""

from __future__ import annotations

from typing import Final

_AIM: Final = 1.0
_STEP: Final = 0.0003
"""Small, because one late batch of many rows should not make planning timid for thousands of answers."""
_START: Final = 0.95
"""Few batches run at the very edge of their time, so planning at the full quantile is more careful than asked."""
_MOST: Final = 1.6


class LateFeedback:
    """The margin multiplies the tail factor of the profile, and is at least its inverse."""

    def __init__(self, quantile: float) -> None:
        self._aim = _AIM * (1 - quantile)
        self.margin = _START

    def observe(self, answers: int, late: int, tail_factor: float) -> None:
        change = _STEP * (late - self._aim * answers)
        self.margin = min(_MOST, max(1.0 / tail_factor, self.margin + change))
