"""Which cells the table has, and how one is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import mean

import numpy as np

from tests.simulation.arrivals import ARRIVALS
from tests.simulation.engine import Policy, Result, SlowDown, served_quantile, simulate
from tests.simulation.hardware import HARDWARE, Hardware

PolicyFactory = Callable[[Hardware, np.random.Generator], Policy]

SEEDS = (11, 111, 211)


@dataclass(frozen=True)
class Row:
    """One arrival process at one load, over all hardware and seeds."""

    arrivals: str
    load: float

    def __str__(self) -> str:
        return f"{self.arrivals} {self.load:g}"


ROWS = tuple(Row(kind, load) for kind in ARRIVALS for load in (0.3, 0.6, 0.8, 0.95, 1.2))


@dataclass(frozen=True)
class Cell:
    in_target: float
    """Share of offered requests, mean over the seeds."""
    served_p99: float
    """Over the target; of the answers of all seeds together."""


def run(factory: PolicyFactory, hardware: Hardware, row: Row, seconds: float, seed: int) -> Result:
    """The same seed gives every policy the same arrivals and the same noise."""
    rate = row.load * hardware.rows_per_second
    arrived = ARRIVALS[row.arrivals](np.random.default_rng(seed), rate, seconds)
    policy = factory(hardware, np.random.default_rng(seed + 1))
    return simulate(policy, arrived, hardware, np.random.default_rng(seed + 2))


def measure(
    factory: PolicyFactory, row: Row, seconds: float, seeds: Iterable[int] = SEEDS, hardware: Iterable[str] = HARDWARE
) -> dict[str, Cell]:
    """One cell per hardware."""
    cells = {}
    for name in hardware:
        kind = HARDWARE[name]
        results = [run(factory, kind, row, seconds, seed) for seed in seeds]
        cells[name] = Cell(
            mean(result.in_target(kind.target_seconds) for result in results),
            served_quantile(results, kind.quantile) / kind.target_seconds,
        )
    return cells


def clairvoyant(row: Row, seconds: float, seeds: Iterable[int] = SEEDS) -> float:
    """No policy can answer more in time: one server at the best rate, no batch to wait for, late ones dropped."""
    shares = []
    for kind in HARDWARE.values():
        for seed in seeds:
            rate = row.load * kind.rows_per_second
            arrived = ARRIVALS[row.arrivals](np.random.default_rng(seed), rate, seconds)
            shares.append(_fluid_share(arrived.tolist(), kind))
    return mean(shares)


def _fluid_share(arrived: list[float], hardware: Hardware) -> float:
    service, free_at, good, counted = 1 / hardware.rows_per_second, 0.0, 0, 0
    for at in arrived:
        end = max(at, free_at) + service
        in_time = end <= at + hardware.target_seconds
        if in_time:
            free_at = end
        if at >= 3.0:
            counted += 1
            good += in_time
    return good / max(1, counted)


ENOUGH_IN_TARGET = 0.99
_MOST_LOAD = 1.3
_HALVINGS = 8


def held_rate(factory: PolicyFactory, hardware: Hardware, arrivals: str, seconds: float, seeds: Iterable[int]) -> float:
    """Requests per second up to which `ENOUGH_IN_TARGET` of those offered are answered within the target."""
    low, high, seeds = 0.0, _MOST_LOAD, tuple(seeds)
    for _ in range(_HALVINGS):
        load = (low + high) / 2
        results = [run(factory, hardware, Row(arrivals, load), seconds, seed) for seed in seeds]
        enough = mean(result.in_target(hardware.target_seconds) for result in results) >= ENOUGH_IN_TARGET
        low, high = (load, high) if enough else (low, load)
    return low * hardware.rows_per_second


@dataclass(frozen=True)
class Drifted:
    """Shares of the offered requests that were answered within the target, and what the answers took at the end."""

    before: float
    at_once: float
    """In the first seconds after the change."""
    after: float
    served_p99: float
    """Over the target, after those first seconds."""


DRIFT = SlowDown(at=15.0, factor=1.5)
_DRIFT_SECONDS = 40.0
_DRIFT_LOAD = 0.62
_AT_ONCE_SECONDS = 3.0


def drifted(factory: PolicyFactory, hardware: Hardware, seed: int) -> Drifted:
    """In bursts, on hardware that takes half as long again from one moment on."""
    rate = _DRIFT_LOAD * hardware.rows_per_second
    arrived = ARRIVALS["bursty"](np.random.default_rng(seed), rate, _DRIFT_SECONDS)
    policy = factory(hardware, np.random.default_rng(seed + 1))
    result = simulate(policy, arrived, hardware, np.random.default_rng(seed + 2), slow_down=DRIFT)
    target = hardware.target_seconds

    def within(begin: float, end: float) -> np.ndarray:
        return result.latency_seconds[(arrived >= begin) & (arrived < end)]

    def share(latencies: np.ndarray) -> float:
        return float(np.mean(np.nan_to_num(latencies, nan=np.inf) <= target))

    settled = DRIFT.at + _AT_ONCE_SECONDS
    after = within(settled, _DRIFT_SECONDS)
    return Drifted(
        share(within(3.0, DRIFT.at)),
        share(within(DRIFT.at, settled)),
        share(after),
        float(np.quantile(after[~np.isnan(after)], hardware.quantile)) / target,
    )
