"""What the gateway itself takes for a row, which bounds the rate where the model takes less."""

from __future__ import annotations

from typing import Final

_LEAST_SECONDS: Final = 1.0
_BUSY: Final = 0.3
"""Share of a core below which timers and probes are too much of the time to tell what a row takes."""
_GAIN: Final = 0.5


class LoopCost:
    """Of the event loop's thread, where everything of a request but the model's work is done by one core."""

    def __init__(self, now: float, computed_seconds: float, rows: int) -> None:
        """`now` by any clock; `computed_seconds` is the thread's CPU time, `rows` those answered since the start."""
        self._seen = now, computed_seconds, rows
        self.seconds_per_row: float | None = None
        """None until the loop was busy for a while."""

    def look(self, now: float, computed_seconds: float, rows: int) -> None:
        seconds, computed, answered = now - self._seen[0], computed_seconds - self._seen[1], rows - self._seen[2]
        if seconds < _LEAST_SECONDS:
            return
        self._seen = now, computed_seconds, rows
        if not answered or computed < _BUSY * seconds:
            return
        found, known = computed / answered, self.seconds_per_row
        self.seconds_per_row = found if known is None else known + _GAIN * (found - known)

    def bound(self, rows_per_second: float) -> float:
        """The rate that both the model and one core of the gateway hold."""
        return rows_per_second if self.seconds_per_row is None else min(rows_per_second, 1 / self.seconds_per_row)
