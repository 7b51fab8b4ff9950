"""When what is read came, as far as the event loop can know."""

from __future__ import annotations

import asyncio
from time import perf_counter


class TurnClock:
    """One time for all that is read in one turn of the loop: its first read.

    What is read later in the turn could be read by then as well, and waited only for its place among the others. In a
    burst that is tens of milliseconds, which a request would otherwise have lost before anyone counted.
    """

    def __init__(self) -> None:
        self._at = 0.0

    def __call__(self) -> float:
        """`time.perf_counter()`, in the loop's thread."""
        at = self._at
        if not at:
            at = self._at = perf_counter()
            asyncio.get_running_loop().call_soon(self._end)
        return at

    def _end(self) -> None:
        self._at = 0.0
