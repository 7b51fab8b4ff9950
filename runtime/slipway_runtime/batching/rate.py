"""How many rows arrive per second, refused ones included."""

from __future__ import annotations


class ArrivalRate:
    """An exponentially weighted rate: an arrival counts for about `horizon_seconds`."""

    def __init__(self, horizon_seconds: float) -> None:
        self._horizon = horizon_seconds
        self._rate = 0.0
        self._last = 0.0

    def observe(self, now: float, rows: int) -> None:
        decay = max(0.0, 1.0 - (now - self._last) / self._horizon)
        self._rate = self._rate * decay + rows / self._horizon
        self._last = now

    @property
    def rows_per_second(self) -> float:
        return self._rate

    @property
    def last_at(self) -> float:
        return self._last
