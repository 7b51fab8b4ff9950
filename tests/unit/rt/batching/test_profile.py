"""The profile is right at the start, stays right, and finds its way back when the hardware changes."""

from __future__ import annotations

import random

import pytest

from slipway_runtime.batching.capacity import Capacity
from slipway_runtime.batching.feedback import LateFeedback
from slipway_runtime.batching.policy import BatchingPolicy, LatencyTarget
from slipway_runtime.batching.profile import ExecutionProfile
from slipway_runtime.batching.rate import ArrivalRate
from slipway_runtime.batching.sizes import WarmUpPlan, ladder

pytestmark = pytest.mark.unit


def linear(rows: int) -> float:
    return 0.008 + 0.0008 * rows


def padded(rows: int) -> float:
    return linear(1 << (rows - 1).bit_length())


def seeded(seconds_of=linear, largest: int = 64, **options: object) -> ExecutionProfile:
    return ExecutionProfile(largest, {n: (seconds_of(n),) * 8 for n in ladder(largest)}, **options)


def sized(**changes: object) -> Capacity:
    return Capacity(seeded(), BatchingPolicy(max_batch_size=64, target=LatencyTarget(0.1), **changes), span_seconds=0.1)


def feed(profile: ExecutionProfile, seconds_of, batches: int, spread: float = 0.0) -> None:
    rng = random.Random(7)
    for _ in range(batches):
        rows = rng.randint(1, 64)
        profile.observe(rows, seconds_of(rows) * rng.lognormvariate(0, spread))


@pytest.mark.parametrize("seconds_of", [linear, padded])
def test_sizes_between_the_measured_ones_are_predicted(seconds_of) -> None:
    profile = seeded(seconds_of)
    for rows in range(1, 65):
        assert profile.median_seconds(rows) == pytest.approx(seconds_of(rows), rel=1e-9)


def test_a_step_from_padding_makes_the_size_before_it_the_best() -> None:
    profile = seeded(padded)
    assert [profile.best_size(limit) for limit in (3, 16, 17, 31, 32, 63, 64)] == [3, 16, 16, 31, 32, 63, 64]


def test_a_measured_dip_does_not_make_larger_batches_look_faster() -> None:
    profile = ExecutionProfile(4, {1: (0.01,), 2: (0.03,), 4: (0.02,)})
    assert [profile.median_seconds(rows) for rows in (1, 2, 3, 4)] == [0.01, 0.03, 0.03, 0.03]


def test_a_slow_down_of_the_machine_is_followed_within_a_few_batches() -> None:
    profile = seeded()
    feed(profile, linear, 100)
    feed(profile, lambda rows: 1.5 * linear(rows), 20)
    for rows in (1, 10, 64):
        assert profile.median_seconds(rows) == pytest.approx(1.5 * linear(rows), rel=0.05)
    assert profile.drifts >= 1


def test_a_slow_down_that_happens_once_is_no_reason_to_be_careful_afterwards() -> None:
    profile = seeded()
    feed(profile, linear, 100)
    before = profile.tail_factor
    feed(profile, lambda rows: 1.5 * linear(rows), 40)
    assert profile.tail_factor == pytest.approx(before, rel=0.05)


def test_on_a_machine_that_wavers_planning_covers_how_it_does() -> None:
    """The curves follow each change, always a few batches late."""
    profile = seeded()
    for _ in range(10):
        feed(profile, linear, 25)
        feed(profile, lambda rows: 1.3 * linear(rows), 25)
    assert profile.drifts >= 10
    feed(profile, linear, 25)
    assert profile.planned_seconds(32) >= 1.25 * linear(32)


def test_a_wrong_warm_up_is_corrected_by_traffic() -> None:
    profile = seeded(lambda rows: 3 * linear(rows))
    feed(profile, linear, 200, spread=0.05)
    assert profile.median_seconds(32) == pytest.approx(linear(32), rel=0.1)


def test_planning_covers_the_tail_that_was_seen() -> None:
    profile = seeded()
    feed(profile, linear, 600, spread=0.1)
    late = random.Random(3)
    over = sum(linear(32) * late.lognormvariate(0, 0.1) > profile.planned_seconds(32) for _ in range(4000))
    assert over / 4000 < 0.025


def test_the_first_batches_after_start_are_not_learned_from() -> None:
    profile = seeded(settling=8)
    for _ in range(8):
        profile.observe(4, 3.0)
    assert profile.median_seconds(4) == pytest.approx(linear(4))


def test_allowed_sizes_make_every_smaller_batch_as_slow_as_the_next_of_them() -> None:
    profile = ExecutionProfile(32, {n: (linear(n),) for n in (8, 32)}, allowed=(8, 32))
    assert [profile.padded_size(rows) for rows in (1, 8, 9, 32)] == [8, 8, 32, 32]
    assert profile.median_seconds(3) == pytest.approx(linear(8))
    assert profile.median_seconds(9) == pytest.approx(linear(32))


def test_the_largest_size_within_a_time_is_found() -> None:
    profile = seeded()
    for limit in (1, 16, 64):
        for seconds in (0.0, 0.009, 0.02, 0.05, 1.0):
            fits = [rows for rows in range(1, limit + 1) if profile.planned_seconds(rows) <= seconds]
            assert profile.largest_within(seconds, limit) == max(fits, default=0)


def test_two_batches_of_the_planned_size_fit_into_the_target() -> None:
    capacity = sized(executors=1)
    assert 2 * linear(capacity.batch_size) <= 0.1 < 2 * linear(capacity.batch_size + 2)
    assert capacity.rows_per_second == pytest.approx(capacity.batch_size / linear(capacity.batch_size))
    assert capacity.sustainable_rows_per_second < capacity.rows_per_second


def test_batches_grow_beyond_that_only_under_overload() -> None:
    capacity = sized(executors=1)
    capacity.follow(0.9 * capacity.rows_per_second)
    assert capacity.batch_limit == capacity.batch_size
    capacity.follow(1.5 * capacity.rows_per_second)
    assert capacity.batch_size < capacity.batch_limit <= 64


def test_a_second_executor_allows_larger_batches() -> None:
    assert sized(executors=2).batch_size > sized(executors=1).batch_size


def test_the_arrival_rate_is_measured() -> None:
    rate = ArrivalRate(0.2)
    for step in range(1000):
        rate.observe(step / 500, 2)
    assert rate.rows_per_second == pytest.approx(1000, rel=0.05)


def test_planning_grows_careful_when_answers_are_late_and_relaxes_when_none_is() -> None:
    feedback = LateFeedback(0.99)
    start = feedback.margin
    feedback.observe(answers=64, late=64, tail_factor=1.2)
    raised = feedback.margin
    assert raised > start
    feedback.observe(answers=1000, late=0, tail_factor=1.2)
    assert feedback.margin < raised
    feedback.observe(answers=10**6, late=0, tail_factor=1.2)
    assert feedback.margin == pytest.approx(1 / 1.2)


def test_lateness_within_the_promise_keeps_the_margin_however_it_clusters() -> None:
    feedback = LateFeedback(0.99)
    for _ in range(20):
        before = feedback.margin
        feedback.observe(answers=9_900, late=0, tail_factor=1.5)
        feedback.observe(answers=100, late=100, tail_factor=1.5)
        assert feedback.margin == pytest.approx(before)


def test_the_ladder_holds_the_sizes_around_powers_of_two() -> None:
    assert ladder(20) == [1, 2, 3, 4, 5, 6, 8, 9, 12, 16, 17, 20]
    assert ladder(20, allowed=(4, 8, 32)) == [4, 8]


def run_plan(plan: WarmUpPlan, seconds_of, limit: int = 10**6) -> WarmUpPlan:
    while (size := plan.next_size()) is not None:
        if size > limit:
            plan.refuse(size)
        else:
            plan.record(size, [seconds_of(size)] * 3)
    return plan


def test_a_given_maximum_is_measured_up_to_it() -> None:
    plan = run_plan(WarmUpPlan(32), linear)
    assert sorted(plan.points) == ladder(32)
    assert plan.max_batch_size == 32


def test_the_largest_size_that_pays_is_found_when_none_is_given() -> None:
    def saturating(rows: int) -> float:
        return 0.01 + 0.01 * max(0, rows - 16) / 16

    plan = run_plan(WarmUpPlan(None), lambda rows: saturating(rows) + 0.002 * rows)
    assert 16 <= plan.max_batch_size <= 128
    assert max(plan.points) <= 8 * plan.max_batch_size


@pytest.mark.parametrize("dip", [2, 4])
def test_sizes_that_do_not_pay_are_looked_beyond(dip: int) -> None:
    """As of one row by a vector's code and more by a matrix's: two take three times as long as one, and eight hardly
    longer than two."""

    def dipped(rows: int) -> float:
        return 0.010 if rows == 1 else 0.010 * dip + 0.001 * rows

    plan = run_plan(WarmUpPlan(None, limit_seconds=0.1), dipped)
    assert plan.max_batch_size >= 32
    assert dipped(plan.max_batch_size) <= 0.1


def test_of_a_model_whose_time_grows_with_its_rows_only_few_sizes_are_looked_at() -> None:
    plan = WarmUpPlan(None)
    looked = []
    while (size := plan.next_size()) is not None:
        if plan.looking:
            looked.append(size)
        plan.record(size, [0.010 * size] * 3)
    assert looked == [4, 8]
    assert plan.max_batch_size == 1


def test_no_size_is_looked_at_that_would_take_long() -> None:
    """A start that costs seconds more for every pod, to learn what is most likely known."""
    plan = run_plan(WarmUpPlan(None, budget_seconds=10.0), lambda rows: 0.2 * rows)
    assert max(plan.points) == 2
    assert plan.max_batch_size == 1


def test_a_size_from_which_on_the_model_runs_in_another_way_is_looked_at() -> None:
    def two_ways(rows: int) -> float:
        return rows * (0.010 if rows < 16 else 0.007)

    assert run_plan(WarmUpPlan(None), two_ways).max_batch_size == 1
    plan = run_plan(WarmUpPlan(None, step=16), two_ways)
    assert plan.max_batch_size == 32
    assert max(plan.points) == 64
    bounded = run_plan(WarmUpPlan(None, step=16, limit_seconds=0.13), two_ways)
    assert bounded.max_batch_size == 17


def test_sizes_slower_than_the_target_are_not_used() -> None:
    plan = run_plan(WarmUpPlan(None, limit_seconds=0.05), linear)
    assert linear(plan.max_batch_size) <= 0.05


def test_out_of_memory_ends_the_search_below_it() -> None:
    plan = run_plan(WarmUpPlan(64), linear, limit=20)
    assert plan.max_batch_size == 17


def test_the_measuring_ends_with_its_time() -> None:
    plan = run_plan(WarmUpPlan(None, budget_seconds=0.5), linear)
    measured = sum(sum(runs) for runs in plan.points.values())
    assert 0.5 <= measured < 0.5 + 3 * linear(1024)
    assert plan.max_batch_size in plan.points


def test_of_a_slow_model_the_budget_goes_to_larger_batches() -> None:
    """Half a second whatever the size: every size between would leave large batches unknown for good."""
    plan = run_plan(WarmUpPlan(None, limit_seconds=7.5, budget_seconds=10.0), lambda rows: 0.5)
    assert plan.max_batch_size >= 64
    assert all(size.bit_count() == 1 for size in plan.points)


def test_allowed_sizes_are_all_measured_however_slow_and_the_last_is_the_largest() -> None:
    plan = run_plan(WarmUpPlan(None, (3, 6, 12), budget_seconds=10.0), lambda rows: 0.5)
    assert list(plan.points) == [3, 6, 12]
    assert plan.max_batch_size == 12
