"""What batches that grow while serving are held to, after a start that measured small ones only."""

from __future__ import annotations

from statistics import mean

import numpy as np
import pytest

from tests.simulation.arrivals import ARRIVALS
from tests.simulation.engine import Result, SlowDown, served_quantile, simulate
from tests.simulation.hardware import HARDWARE, Hardware
from tests.simulation.study import PolicyFactory
from tests.simulation.subject import Started, Subject

pytestmark = pytest.mark.unit

SECONDS = 20.0
WITHIN_SECONDS = 12.0
"""By then batches are to be as large as those of a policy that knew from the start."""
SEED = 11
SEEDS = (11, 12, 13)
"""Where one burst or one spike would decide."""
SERVED_P99 = 1.02
AS_GOOD = 0.03
"""Of the offered requests: how far growing may stay behind knowing."""

KNEED = Hardware("8 ms + 0.8 ms per row, 1.8 times that beyond 24 rows", 0.008, 0.0008, 64, 0.1, knee_rows=24)


def play(
    factory: PolicyFactory,
    hardware: Hardware,
    arrivals: str,
    load: float,
    slow_down: SlowDown | None = None,
    seed: int = SEED,
) -> tuple[Subject, Result]:
    arrived = ARRIVALS[arrivals](np.random.default_rng(seed), load * hardware.rows_per_second, SECONDS)
    policy = factory(hardware, np.random.default_rng(seed + 1))
    assert isinstance(policy, Subject)
    return policy, simulate(policy, arrived, hardware, np.random.default_rng(seed + 2), slow_down=slow_down)


def growing(measured: int) -> PolicyFactory:
    return lambda hardware, rng: Started(hardware, rng, measured, ceiling=hardware.max_batch_size)


def in_target_late(result: Result, hardware: Hardware) -> float:
    """Share of what was offered once batches had the time to grow."""
    late = result.latency_seconds[result.arrived >= WITHIN_SECONDS]
    return float(np.mean(np.nan_to_num(late, nan=np.inf) <= hardware.target_seconds))


def test_a_start_that_measured_small_batches_alone_loses_most_of_the_load_without_growth() -> None:
    """Or the tests below would show nothing."""
    _, result = play(lambda hardware, rng: Started(hardware, rng, 4), HARDWARE["gpu"], "Poisson", 0.95)
    assert in_target_late(result, HARDWARE["gpu"]) < 0.4


@pytest.mark.parametrize("load", [0.6, 0.95, 1.2])
@pytest.mark.parametrize("name", ["gpu", "padded", "cpu"])
def test_batches_grow_to_what_the_policy_that_knew_answers_in_time(name: str, load: float) -> None:
    hardware = HARDWARE[name]
    _, known = play(Subject, hardware, "Poisson", load)
    _, grown = play(growing(4), hardware, "Poisson", load)
    assert in_target_late(grown, hardware) >= in_target_late(known, hardware) - AS_GOOD
    assert served_quantile([grown], hardware.quantile) <= SERVED_P99 * hardware.target_seconds


@pytest.mark.parametrize("load", [0.95, 1.2])
@pytest.mark.parametrize("hardware", [HARDWARE["gpu"], HARDWARE["padded"], KNEED], ids=["gpu", "padded", "kneed"])
def test_what_is_tried_in_bursts_keeps_the_promise_to_those_that_are_answered(hardware: Hardware, load: float) -> None:
    grown = [play(growing(4), hardware, "bursty", load, seed=seed)[1] for seed in SEEDS]
    assert served_quantile(grown, hardware.quantile) <= SERVED_P99 * hardware.target_seconds


@pytest.mark.parametrize("load", [0.95, 1.2])
def test_batches_return_to_the_knee_and_stay_there(load: float) -> None:
    policy, grown = play(growing(4), KNEED, "Poisson", load)
    assert isinstance(policy, Started)
    assert policy.scheduler.reference.capacity.largest == KNEED.knee_rows
    tried = [step for step in policy.steps if step.rows > 24]
    assert [step.kept for step in tried] == [False], "a size that is slower per row is tried once"
    assert served_quantile([grown], KNEED.quantile) <= SERVED_P99 * KNEED.target_seconds
    assert in_target_late(grown, KNEED) >= in_target_late(play(Subject, KNEED, "Poisson", load)[1], KNEED) - AS_GOOD


def test_padding_is_passed_over() -> None:
    """Half a step costs as much as a whole one there."""
    policy, _ = play(growing(8), HARDWARE["padded"], "Poisson", 0.95)
    assert isinstance(policy, Started)
    assert all(step.rows.bit_count() == 1 for step in policy.steps if step.kept)
    assert policy.scheduler.reference.capacity.largest == 32


def test_nothing_is_tried_where_the_batches_suffice() -> None:
    policy, result = play(growing(16), HARDWARE["gpu"], "Poisson", 0.3)
    assert isinstance(policy, Started)
    assert policy.steps == []
    assert max(result.batch_rows) <= 16


def test_nothing_above_the_ceiling_is_tried() -> None:
    policy, result = play(lambda hardware, rng: Started(hardware, rng, 4, ceiling=14), HARDWARE["gpu"], "Poisson", 1.2)
    assert max(result.batch_rows) == 14
    assert policy.scheduler.reference.capacity.largest == 14


def test_a_machine_that_was_throttled_at_start_serves_at_full_speed_once_it_is_not() -> None:
    """Times of the start were three times as long, so no batch above 16 rows seemed to keep the target."""
    hardware = HARDWARE["gpu"]
    throttled = Hardware("throttled", 3 * hardware.fixed_seconds, 3 * hardware.per_row_seconds, 16, 0.1)

    def factory(hardware: Hardware, rng: np.random.Generator) -> Started:
        return Started(throttled, rng, 16, ceiling=64)

    answered, possible = [], []
    for seed in SEEDS:
        policy, result = play(factory, hardware, "Poisson", 0.95, seed=seed)
        assert policy.scheduler.reference.capacity.largest > 32
        answered.append(in_target_late(result, hardware))
        possible.append(in_target_late(play(Subject, hardware, "Poisson", 0.95, seed=seed)[1], hardware))
    assert mean(answered) >= mean(possible) - AS_GOOD


def test_what_did_not_pay_is_tried_again_after_the_hardware_changed() -> None:
    policy, _ = play(growing(4), KNEED, "Poisson", 2.0, SlowDown(at=10.0, factor=0.7))
    assert isinstance(policy, Started)
    assert policy.scheduler.reference.profile.drifts > 0
    tried = [step for step in policy.steps if step.rows > 24]
    assert len(tried) > 1
    assert not any(step.kept for step in tried)


def test_growth_without_a_target_ends_where_larger_batches_stop_paying() -> None:
    hardware = Hardware("2 ms + 6 ms per row", 0.002, 0.006, 1024, 1.0)
    policy, _ = play(growing(2), hardware, "Poisson", 1.2)
    assert isinstance(policy, Started)
    assert policy.scheduler.reference.capacity.largest <= 32
    assert not policy.steps[-1].kept
