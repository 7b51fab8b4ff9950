"""How many rows arrive per second, refused ones included."""

from __future__ import annotations


class ArrivalRate:
    """An exponentially weighted rate: an arrival counts for about `horizon_seconds`."""

    def __init__(self, horizon_seconds: float) -> None:
        self._horizon = horizon_seconds
        self._rate = 0.0
        self._last = 0.0

    def observe(self, now: float, rows: int) -> None:
        self._rate = self.with_arrival(now, rows)
        self._last = now

    def with_arrival(self, now: float, rows: int) -> float:
        """What the rate would be once these rows were observed."""
        decay = max(0.0, 1.0 - (now - self._last) / self._horizon)
        return self._rate * decay + rows / self._horizon

    @property
    def rows_per_second(self) -> float:
        return self._rate

    @property
    def last_at(self) -> float:
        return self._last
