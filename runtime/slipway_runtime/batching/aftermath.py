"""How long answers take after their batch: serialising, and the wait for those that are serialised before."""

from __future__ import annotations

from collections import deque
from typing import Final

_WINDOW: Final = 256
_EVERY: Final = 32
_QUANTILE: Final = 0.95
_STEP: Final = 0.05
"""A share by which the value has to move before anybody is told: plans are made anew for it."""


class Aftermath:
    """`seconds` is the 95th percentile over the last answers; 0 until there are enough of them."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=_WINDOW)
        self._unread = 0
        self.seconds = 0.0

    def observe(self, seconds: float) -> bool:
        """True when `seconds` changed."""
        self._recent.append(seconds)
        self._unread += 1
        if self._unread < _EVERY:
            return False
        self._unread = 0
        ordered = sorted(self._recent)
        found = ordered[int(_QUANTILE * (len(ordered) - 1))]
        if abs(found - self.seconds) <= _STEP * self.seconds:
            return False
        self.seconds = found
        return True
