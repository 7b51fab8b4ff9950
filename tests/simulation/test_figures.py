"""The figures that the scheduler is held to, on a short seeded form of the table."""

from __future__ import annotations

from dataclasses import replace
from statistics import mean

import numpy as np
import pytest

from tests.simulation.arrivals import bursty, poisson
from tests.simulation.engine import SlowDown, served_quantile, simulate
from tests.simulation.hardware import HARDWARE
from tests.simulation.rivals import RIVALS, Alone
from tests.simulation.study import Row, measure
from tests.simulation.subject import Efficient, Serialising, Subject, TwoTargets

pytestmark = pytest.mark.unit

SECONDS = 8.0
SEEDS = (11, 111)
SEED = SEEDS[0]
HELD_IN_TARGET = 0.94
HELD_SERVED_P99 = 1.02
TIE = 0.001
"""Where nearly all requests are answered in time, so short a run cannot tell policies apart that are this close."""


@pytest.mark.parametrize(
    "row", [Row(kind, load) for kind in ("Poisson", "bursty") for load in (0.8, 0.95, 1.2)], ids=str
)
def test_ahead_of_every_other_policy_in_the_mean_row(row: Row) -> None:
    cells = measure(Subject, row, SECONDS, SEEDS)
    ours = mean(cell.in_target for cell in cells.values())
    if row == Row("Poisson", 0.95):
        assert ours >= HELD_IN_TARGET
    assert mean(cell.served_p99 for cell in cells.values()) <= HELD_SERVED_P99
    for rival in RIVALS:
        theirs = mean(cell.in_target for cell in measure(rival, row, SECONDS, SEEDS).values())
        assert ours > theirs - TIE, rival.name


@pytest.mark.feature("latency-model")
def test_a_slow_down_is_survived_with_the_target_kept() -> None:
    hardware = HARDWARE["gpu"]
    arrived = poisson(np.random.default_rng(SEED), 0.8 * hardware.rows_per_second, SECONDS)
    slow_down = SlowDown(at=4.0, factor=1.5)
    policy = Subject(hardware, np.random.default_rng(SEED + 1))
    result = simulate(policy, arrived, hardware, np.random.default_rng(SEED + 2), slow_down=slow_down)
    after = result.latency_seconds[arrived > 5.0]
    served = after[~np.isnan(after)]
    assert np.quantile(served, 0.99) <= HELD_SERVED_P99 * hardware.target_seconds
    assert np.mean(np.nan_to_num(after, nan=np.inf) <= hardware.target_seconds) > 0.6


def test_the_target_holds_for_answers_that_take_long_to_write() -> None:
    """Of 64 answers the last one is written 26 ms after its batch, of a target of 100 ms."""
    hardware = HARDWARE["gpu"]
    arrived = poisson(np.random.default_rng(SEED), 1.2 * hardware.rows_per_second, SECONDS)
    served_p99 = {}
    for measured in (True, False):
        policy = Serialising(hardware, np.random.default_rng(SEED + 1), 0.0004, measured=measured)
        result = simulate(policy, arrived, hardware, np.random.default_rng(SEED + 2))
        whole = [result.latency_seconds[request] + after for request, after in policy.after_seconds.items()]
        served_p99[measured] = np.quantile(whole, 0.99) / hardware.target_seconds
        assert len(whole) > 0.75 * len(arrived)
    assert served_p99[True] <= HELD_SERVED_P99
    assert served_p99[False] > 1.1, "the case would show nothing"


def test_a_second_looser_target_would_break_the_tighter_one_in_bursts_and_serve_hardly_more() -> None:
    """Why one of two targets decides: of p95 at 100 ms and p99 at 150 ms the first."""
    tight = replace(HARDWARE["gpu"], quantile=0.95)
    arrived = bursty(np.random.default_rng(SEED), 0.6 * tight.rows_per_second, 20.0)

    def play(policy: Subject) -> tuple[float, float]:
        """Shares: of the offered that were answered, and of those that were later than the tighter target."""
        counted = simulate(policy, arrived, tight, np.random.default_rng(SEED + 2)).counted()
        served = counted[~np.isnan(counted)]
        return len(served) / len(counted), float(np.mean(served > tight.target_seconds))

    one_served, one_late = play(Subject(tight, np.random.default_rng(SEED + 1)))
    two_served, two_late = play(TwoTargets(tight, np.random.default_rng(SEED + 1), looser_seconds=0.15))
    assert one_late <= 0.05 < two_late
    assert two_served - one_served < 0.01


@pytest.mark.feature("one-queue")
def test_two_executors_carry_twice_the_load() -> None:
    hardware = HARDWARE["gpu"]
    arrived = poisson(np.random.default_rng(SEED), 1.9 * hardware.rows_per_second, SECONDS)
    policy = Subject(hardware, np.random.default_rng(SEED + 1), executors=2)
    result = simulate(policy, arrived, hardware, np.random.default_rng(SEED + 2), executors=2)
    assert result.in_target(hardware.target_seconds) >= HELD_IN_TARGET
    assert served_quantile([result], 0.99) <= HELD_SERVED_P99 * hardware.target_seconds


def test_efficiency_keeps_the_target_and_leaves_the_hardware_idle_more_often() -> None:
    hardware = HARDWARE["gpu"]
    arrived = poisson(np.random.default_rng(SEED), 0.3 * hardware.rows_per_second, SECONDS)
    results = [
        simulate(factory(hardware, np.random.default_rng(SEED + 1)), arrived, hardware, np.random.default_rng(SEED + 2))
        for factory in (Subject, Efficient)
    ]
    eager, filled = results
    assert filled.busy_share < 0.6 * eager.busy_share
    assert filled.in_target(hardware.target_seconds) > 0.98


def test_the_simulator_agrees_with_queueing_theory() -> None:
    """Without batches and far from overload: an M/D/1 queue, whose mean wait is load / (2 (1 - load)) services."""
    hardware = HARDWARE["gpu"]
    service, load = hardware.seconds(1), 0.5
    arrived = poisson(np.random.default_rng(SEED), load / service, 200.0)
    result = simulate(Alone(hardware, np.random.default_rng(0)), arrived, hardware, np.random.default_rng(SEED))
    expected = service * (1 + load / (2 * (1 - load)))
    assert float(np.mean(result.counted())) == pytest.approx(expected, rel=0.05)
