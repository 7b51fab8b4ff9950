"""A token bucket: at most so many writes a second, with a burst of two seconds' worth."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic


class TokenBucket:
    """First come, first served: whoever waits holds the lock, so nobody overtakes."""

    def __init__(self, per_second: float, *, clock: Callable[[], float] = monotonic) -> None:
        self._per_second = per_second
        self._burst = max(2 * per_second, 1.0)
        self._tokens = self._burst
        self._clock = clock
        self._updated = clock()
        self._lock = asyncio.Lock()

    async def take(self) -> None:
        async with self._lock:
            self._refill()
            if self._tokens < 1:
                await asyncio.sleep((1 - self._tokens) / self._per_second)
                self._refill()
            self._tokens -= 1

    def _refill(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._updated) * self._per_second)
        self._updated = now
