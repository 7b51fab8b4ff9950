"""A queue of keys: each waits at most once, and none is processed twice at the same time.

A key that is added while it is processed waits again when that is done. Failures of a key make it wait longer.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

BACK_OFF_BASE_SECONDS: Final = 0.5
BACK_OFF_LIMIT_SECONDS: Final = 300.0

KeyT = TypeVar("KeyT", bound=Hashable)


class WorkQueue(Generic[KeyT]):
    """For one event loop. `jitter` yields a factor near 1."""

    def __init__(self, *, jitter: Callable[[], float] = lambda: random.uniform(0.8, 1.2)) -> None:  # noqa: S311
        self._jitter = jitter
        self._waiting: deque[KeyT] = deque()
        self._added_at: dict[KeyT, float] = {}
        self._processing: dict[KeyT, float] = {}
        """Since when."""
        self._dirty: set[KeyT] = set()
        self._timers: dict[KeyT, asyncio.TimerHandle] = {}
        self._failures: dict[KeyT, int] = {}
        self._available = asyncio.Event()
        self._closed = False
        self.waited_seconds: Callable[[float], None] = lambda seconds: None
        """Told how long each key waited."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def processing(self) -> int:
        return len(self._processing)

    def oldest_waiting_seconds(self, now: float) -> float:
        """`now` by the event loop's clock; 0 when nothing waits."""
        return now - self._added_at[self._waiting[0]] if self._waiting else 0.0

    def oldest_processing_seconds(self, now: float) -> float:
        return now - next(iter(self._processing.values())) if self._processing else 0.0

    def add(self, key: KeyT) -> None:
        """At once. A planned wake-up of the key stays planned."""
        if key in self._processing:
            self._dirty.add(key)
        elif key not in self._added_at:
            self._added_at[key] = asyncio.get_running_loop().time()
            self._waiting.append(key)
            self._available.set()

    def add_after(self, key: KeyT, seconds: float) -> None:
        """The earliest of several wake-ups counts."""
        loop = asyncio.get_running_loop()
        planned = self._timers.get(key)
        if planned is not None:
            if planned.when() <= loop.time() + seconds:
                return
            planned.cancel()
        self._timers[key] = loop.call_later(seconds, self._wake, key)

    def add_after_failure(self, key: KeyT, at_least_seconds: float = 0.0) -> float:
        """Later with each failure in a row. Returns the seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        # The exponent is bounded too: 2 ** 1000 is no float.
        back_off: float = min(BACK_OFF_BASE_SECONDS * 2 ** min(failures, 20), BACK_OFF_LIMIT_SECONDS)
        seconds = max(back_off * self._jitter(), at_least_seconds)
        self.add_after(key, seconds)
        return seconds

    def succeeded(self, key: KeyT) -> None:
        self._failures.pop(key, None)

    def forget(self, key: KeyT) -> None:
        """The key's object is gone."""
        self.succeeded(key)
        planned = self._timers.pop(key, None)
        if planned is not None:
            planned.cancel()

    def close(self) -> None:
        """Nothing is handed out any more."""
        self._closed = True
        self._available.set()
        for planned in self._timers.values():
            planned.cancel()
        self._timers.clear()

    async def get(self) -> KeyT | None:
        """Each key is answered by one `done`. None: the queue is closed."""
        while not self._waiting and not self._closed:
            self._available.clear()
            await self._available.wait()
        if self._closed:
            return None
        key = self._waiting.popleft()
        now = asyncio.get_running_loop().time()
        self.waited_seconds(now - self._added_at.pop(key))
        self._processing[key] = now
        return key

    def done(self, key: KeyT) -> None:
        self._processing.pop(key, None)
        if key in self._dirty:
            self._dirty.discard(key)
            self.add(key)

    def _wake(self, key: KeyT) -> None:
        self._timers.pop(key, None)
        self.add(key)
