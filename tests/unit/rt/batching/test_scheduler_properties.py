"""What holds for every stream of requests, every policy and every speed of the model."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_runtime.batching.policy import BatchingPolicy, LatencyTarget
from slipway_runtime.batching.scheduler import Scheduler
from slipway_runtime.batching.sizes import ladder
from slipway_runtime.batching.work import Batch, Request
from slipway_runtime.contract import BatchingMode, Objective, OnOverload
from tests.unit.rt.batching.driver import Driver, Event

pytestmark = pytest.mark.unit

FIXED_SECONDS, ROW_SECONDS = 0.004, 0.002

targets = st.one_of(
    st.none(),
    st.builds(
        LatencyTarget,
        seconds=st.sampled_from([0.003, 0.02, 0.05, 0.3]),
        quantile=st.sampled_from([0.5, 0.95, 0.99]),
        on_overload=st.sampled_from(OnOverload),
    ),
)


@st.composite
def policies(draw: st.DrawFn, modes: tuple[BatchingMode, ...] = tuple(BatchingMode)) -> BatchingPolicy:
    largest = draw(st.integers(1, 12))
    allowed = draw(st.sets(st.integers(1, largest)).map(sorted))
    return BatchingPolicy(
        max_batch_size=largest,
        mode=draw(st.sampled_from(modes)),
        objective=draw(st.sampled_from(Objective)),
        max_queue_delay_seconds=draw(st.none() | st.sampled_from([0.0, 0.005, 0.05])),
        max_queue_length=draw(st.none() | st.integers(1, 20)),
        allowed_batch_sizes=tuple(allowed),
        target=draw(targets),
        timeout_seconds=draw(st.sampled_from([0.1, 30.0])),
        executors=draw(st.integers(1, 3)),
    )


@st.composite
def streams(draw: st.DrawFn) -> list[Event]:
    count = draw(st.integers(1, 20))
    now, events = 0.0, []
    for number in range(count):
        now += draw(st.sampled_from([0.0, 0.0, 0.0005, 0.003, 0.02, 0.5]))
        request = Request(
            id=number,
            rows=draw(st.sampled_from([1, 1, 1, 2, 5, 30])),
            bucket=draw(st.sampled_from(["a", "a", "b", "c"])),
            row_elements=draw(st.sampled_from([1.0, 4.0])),
            priority=draw(st.sampled_from([0, 0, 0, 1, -1])),
            timeout_seconds=draw(st.none() | st.sampled_from([0.001, 0.03, 1.0])),
        )
        events.append(Event(now, request))
        if draw(st.integers(0, 9)) == 0:
            events.append(Event(now + draw(st.sampled_from([0.0, 0.01])), cancel=number))
    return events


def make_scheduler(policy: BatchingPolicy) -> Scheduler:
    sizes = ladder(policy.max_batch_size, policy.allowed_batch_sizes)
    return Scheduler(policy, {n: (FIXED_SECONDS + ROW_SECONDS * n,) * 3 for n in sizes}, bucket="a")


def play(policy: BatchingPolicy, events: list[Event], speed: float, driver_settings: dict[str, object] | None = None):
    driver = Driver(
        make_scheduler(policy),
        lambda batch: speed * (FIXED_SECONDS + ROW_SECONDS * batch.padded_rows),
        **(driver_settings or {}),
    )
    driver.play(events)
    return driver


speeds = st.sampled_from([0.5, 1.0, 1.3, 3.0])


@given(policies(), streams(), speeds)
@settings(deadline=None, max_examples=30)
def test_every_request_ends_exactly_once_whatever_happens(
    policy: BatchingPolicy, events: list[Event], speed: float
) -> None:
    driver = play(policy, events, speed)
    served = {
        request
        for request, parts in driver.rows_served().items()
        if request not in driver.dropped and request not in driver.cancelled
    }
    ends = [*driver.refused, *driver.dropped, *driver.cancelled, *served]
    offered = [event.request.id for event in events if event.request]
    assert sorted(ends) == offered
    assert driver.scheduler.queued_requests == driver.scheduler.queued_rows == driver.scheduler.running == 0


@given(policies(), streams(), speeds)
@settings(deadline=None, max_examples=30)
def test_rows_of_a_request_go_out_whole_once_and_in_order(
    policy: BatchingPolicy, events: list[Event], speed: float
) -> None:
    driver = play(policy, events, speed)
    rows = {event.request.id: event.request.rows for event in events if event.request}
    for request, parts in driver.rows_served().items():
        assert parts[0][0] == 0
        assert all(start < stop for start, stop in parts)
        assert all(before[1] == after[0] for before, after in pairwise(parts))
        if request not in driver.dropped and request not in driver.cancelled:
            assert parts[-1][1] == rows[request]


@pytest.mark.feature("padding")
@given(policies(), streams(), speeds)
@settings(deadline=None, max_examples=30)
def test_a_batch_holds_one_bucket_and_no_more_rows_than_allowed(
    policy: BatchingPolicy, events: list[Event], speed: float
) -> None:
    for batch in play(policy, events, speed).batches:
        assert {part.request.bucket for part in batch.slices} == {batch.bucket}
        assert batch.rows == sum(part.stop - part.start for part in batch.slices)
        if policy.mode is BatchingMode.DISABLED:
            assert len(batch.slices) == 1
        else:
            assert batch.rows <= policy.max_batch_size
            larger = [size for size in policy.allowed_batch_sizes if size >= batch.rows]
            assert batch.padded_rows == min(larger, default=batch.rows)


@given(policies(), streams(), speeds)
@settings(deadline=None, max_examples=20)
def test_no_executor_idles_while_requests_wait_unless_asked_to(
    policy: BatchingPolicy, events: list[Event], speed: float
) -> None:
    waits_on_purpose = (
        policy.max_queue_delay_seconds if policy.mode is not BatchingMode.DISABLED else None
    ) or policy.objective is Objective.EFFICIENCY

    def check(scheduler: Scheduler, now: float) -> None:
        assert waits_on_purpose or not (scheduler.has_free_executor and scheduler.queued_requests)

    play(policy, events, speed, {"after_decision": check})


@given(policies(), streams(), speeds)
@settings(deadline=None, max_examples=20)
def test_the_queue_stays_within_its_bound(policy: BatchingPolicy, events: list[Event], speed: float) -> None:
    bound = policy.max_queue_length

    def check(scheduler: Scheduler, now: float) -> None:
        assert bound is None or scheduler.queued_requests <= bound

    play(policy, events, speed, {"after_decision": check})


@given(policies((BatchingMode.AUTO,)), streams(), speeds)
@settings(deadline=None, max_examples=30)
def test_a_batch_is_planned_to_end_in_time_for_every_row_when_others_wait(
    policy: BatchingPolicy, events: list[Event], speed: float
) -> None:
    def check(scheduler: Scheduler, batch: Batch) -> None:
        lane = scheduler.lanes[batch.bucket]
        alone = len(batch.slices) == 1 and scheduler.running == 1 and scheduler.queued_requests <= 1
        if lane.shedding and not alone:
            ends = batch.started_at + lane.profile.planned_seconds(batch.rows)
            assert all(ends <= part.target_at + 1e-9 for part in batch.slices)

    play(policy, events, speed, {"on_batch": check})


@given(policies(), streams(), speeds)
@settings(deadline=None, max_examples=20)
def test_nothing_is_computed_for_a_client_that_left(policy: BatchingPolicy, events: list[Event], speed: float) -> None:
    cancelled_at = {event.cancel: event.at for event in events if event.request is None}
    driver = play(policy, events, speed)
    for batch in driver.batches:
        for part in batch.slices:
            if part.request.id in driver.cancelled:
                assert batch.started_at <= cancelled_at[part.request.id]


@given(policies((BatchingMode.AUTO,)), streams(), speeds)
@settings(deadline=None, max_examples=20)
def test_predictions_never_fall_with_the_batch_size(policy: BatchingPolicy, events: list[Event], speed: float) -> None:
    scheduler = play(policy, events, speed).scheduler
    for lane in scheduler.lanes.values():
        for predict in (lane.profile.median_seconds, lane.profile.planned_seconds):
            curve = [predict(rows) for rows in range(1, policy.max_batch_size + 1)]
            assert curve == sorted(curve)
            assert curve[0] > 0
        planned = lane.profile.planned_seconds
        assert all(planned(n) >= lane.profile.median_seconds(n) for n in range(1, policy.max_batch_size + 1))


def in_the_usual_way(
    scheduler: Scheduler, requests: list[Request], now: float, seconds: float
) -> tuple[list[int], int]:
    """Rows of the batches that run one after another, and how many requests were refused."""
    refused = sum(scheduler.offer(request, now) is not None for request in requests)
    sizes = []
    while (decision := scheduler.decide(now)).batch is not None:
        refused += len(decision.dropped)
        sizes.append(decision.batch.rows)
        now += seconds
        scheduler.complete(decision.batch, now)
    return sizes, refused + len(decision.dropped)


@settings(max_examples=300, deadline=None)
@given(
    policies(modes=(BatchingMode.AUTO,)),
    st.lists(st.tuples(st.sampled_from([0.001, 0.02, 3.0]), st.lists(st.integers(1, 4), min_size=1, max_size=8))),
    st.floats(0.2, 3.0),
)
def test_what_is_said_to_run_at_once_is_what_would_have_been_decided(
    policy: BatchingPolicy, bursts: list[tuple[float, list[int]]], speed: float
) -> None:
    policy = replace(policy, max_queue_length=None)
    quick, usual = make_scheduler(policy), make_scheduler(policy)
    target_seconds = policy.target.seconds if policy.target else policy.timeout_seconds
    now = 0.0
    for number, (pause, rows) in enumerate(bursts):
        now += 1 + pause
        requests = [Request((number, place), count, "a") for place, count in enumerate(rows)]
        due_at = now + min(target_seconds, policy.timeout_seconds)
        batch = quick.at_once("a", sum(rows), len(rows), due_at, now)
        seconds = speed * (FIXED_SECONDS + ROW_SECONDS * sum(rows))
        expected = in_the_usual_way(usual, requests, now, seconds)
        if batch is None:
            assert in_the_usual_way(quick, requests, now, seconds) == expected
        else:
            assert expected == ([batch.rows], 0)
            late = len(rows) if now + seconds > due_at else 0
            quick.complete_at_once(batch, len(rows), late, now + seconds)
        assert quick.reference.profile.curve() == usual.reference.profile.curve()
        assert quick.reference.capacity.batch_limit == usual.reference.capacity.batch_limit
