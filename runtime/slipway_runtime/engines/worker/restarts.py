"""When a worker that ended is started again, and when that is not expected to help."""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import Final

BACK_OFF_SECONDS: Final = (0.2, 1.0, 2.0, 5.0, 10.0, 30.0)
LOOP_ENDS: Final = 5
LOOP_SECONDS: Final = 300.0


class Cause(StrEnum):
    """Why a worker ended. A label of the restart metric."""

    CRASH = "crash"
    """A signal or an exit that nobody asked for."""
    OUT_OF_MEMORY = "out_of_memory"
    """The kernel killed it because the container's memory was used up."""
    HANG = "hang"
    """A batch, or a start, took longer than allowed."""
    PROTOCOL = "protocol"
    """It sent what cannot be understood, or tensors that are not where it said."""
    START = "start"
    """It could not load the model that an earlier worker loaded."""


class Restarts:
    """The history of one worker position. Times in seconds of one clock."""

    def __init__(self) -> None:
        self._ends: deque[float] = deque(maxlen=LOOP_ENDS)
        self._starts: deque[float] = deque(maxlen=LOOP_ENDS - 1)
        self._in_row = 0

    def record_success(self) -> None:
        """A batch was answered."""
        if self._in_row:
            self._ends.clear()
            self._starts.clear()
            self._in_row = 0

    def record_start(self, seconds: float) -> None:
        """It took so long until it was ready, or ended before."""
        self._starts.append(seconds)

    def record_end(self, now: float) -> float:
        """Seconds until the next start."""
        self._ends.append(now)
        delay = BACK_OFF_SECONDS[min(self._in_row, len(BACK_OFF_SECONDS) - 1)]
        self._in_row += 1
        return delay

    def looping(self, now: float) -> bool:
        """It ended `LOOP_ENDS` times within `LOOP_SECONDS` and answered nothing in between. The time of starts does not
        count: a large model that loads for minutes is no less lost."""
        return len(self._ends) == LOOP_ENDS and now - self._ends[0] <= LOOP_SECONDS + sum(self._starts)
