"""The least wait of late: above nothing, it tells of a queue that never empties, which a mean wait does not."""

from __future__ import annotations

from typing import Final

WINDOW_SECONDS: Final = 5
_NEVER: Final = float("inf")


class LeastWait:
    """Of those that left the queue in the last `WINDOW_SECONDS`, by whole seconds. `now` never goes back."""

    __slots__ = ("_second", "_seconds")

    def __init__(self) -> None:
        self._second = 0
        self._seconds = [_NEVER] * WINDOW_SECONDS
        """Least wait of each second, the current one last."""

    def note(self, wait_seconds: float, now: float) -> None:
        """Once for each batch is enough, with the least wait in it."""
        if int(now) != self._second:
            self._move_to(int(now))
        if wait_seconds < self._seconds[-1]:
            self._seconds[-1] = wait_seconds

    def least(self, now: float) -> float | None:
        """Seconds; None when nothing left."""
        self._move_to(int(now))
        least = min(self._seconds)
        return None if least == _NEVER else least

    def _move_to(self, second: int) -> None:
        passed = min(max(0, second - self._second), WINDOW_SECONDS)
        self._second = max(second, self._second)
        if passed:
            self._seconds = self._seconds[passed:] + [_NEVER] * passed
