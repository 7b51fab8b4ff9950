"""When requests come: open loop, that is, no client waits for an answer before it sends the next."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Arrivals = Callable[[np.random.Generator, float, float], np.ndarray]
"""(rng, requests per second, seconds) to ascending times in seconds."""

_HIGH = 3.0
_LOW = 0.5
_HIGH_SHARE = 0.2
_HIGH_SECONDS = 0.5


def poisson(rng: np.random.Generator, rate: float, seconds: float) -> np.ndarray:
    return np.sort(rng.random(rng.poisson(rate * seconds)) * seconds)


def bursty(rng: np.random.Generator, rate: float, seconds: float) -> np.ndarray:
    """Bursts of half a second on average at three times the rate, between them half of it; the mean is `rate`."""
    low_seconds = _HIGH_SECONDS * (1 - _HIGH_SHARE) / _HIGH_SHARE
    parts, now, high = [np.empty(0)], 0.0, False
    while now < seconds:
        span = min(rng.exponential(_HIGH_SECONDS if high else low_seconds), seconds - now)
        count = rng.poisson(rate * (_HIGH if high else _LOW) * span)
        parts.append(now + np.sort(rng.random(count)) * span)
        now += span
        high = not high
    return np.concatenate(parts)


ARRIVALS: dict[str, Arrivals] = {"Poisson": poisson, "bursty": bursty}
