"""What answers take after their batch is measured, and no time for batches."""

from __future__ import annotations

import time

import pytest

from slipway_runtime.batching.aftermath import Aftermath
from slipway_runtime.batching.policy import BatchingPolicy, LatencyTarget
from slipway_runtime.batching.scheduler import Scheduler
from slipway_runtime.dispatch.ticket import Ticket
from tests.unit.rt.dispatch.scripted import make_client, play, settle

pytestmark = pytest.mark.unit

MANY = 1000


def test_answers_that_take_long_to_write_leave_less_time_for_batches() -> None:
    async def scenario() -> None:
        policy = BatchingPolicy(max_batch_size=16, target=LatencyTarget(0.5))
        client = make_client(policy=policy)
        scheduler = client.dispatcher.scheduler
        hand_on = client._done

        def slowly(ticket: Ticket) -> None:
            time.sleep(0.004)
            hand_on(ticket)

        client._done = slowly  # type: ignore[method-assign]
        for _ in range(2):
            for row in range(16):
                client.submit(row)
            await settle()
            client.engine.end()
        assert 15 * 0.004 <= scheduler.aftermath_seconds < 0.25, "the last one of a batch waits for all before it"
        assert scheduler.target_seconds == pytest.approx(0.5 - scheduler.aftermath_seconds)

    play(scenario)


def test_it_is_what_one_answer_in_twenty_exceeds() -> None:
    aftermath = Aftermath()
    for answer in range(MANY):
        aftermath.observe(0.1 if answer % 10 == 0 else 0.001 * (answer % 5))
    assert aftermath.seconds == 0.1
    for _ in range(MANY):
        aftermath.observe(0.002)
    assert aftermath.seconds == 0.002


def test_a_few_answers_say_nothing_yet() -> None:
    aftermath = Aftermath()
    assert not any(aftermath.observe(1.0) for _ in range(20))
    assert aftermath.seconds == 0.0


def test_batches_grow_again_when_answers_are_quick_again_and_keep_half_of_the_target() -> None:
    policy = BatchingPolicy(max_batch_size=64, target=LatencyTarget(0.1))
    scheduler = Scheduler(policy, {1: [0.001], 64: [0.064]})
    largest = []
    for seconds in (0.0, 0.03, 5.0, 0.0005):
        for _ in range(MANY):
            scheduler.observe_answer(seconds)
        largest.append(scheduler.reference.capacity.batch_size)
    assert largest[0] > largest[1] > largest[2] > 1
    assert scheduler.target_seconds == pytest.approx(0.0995)
    assert largest[3] == pytest.approx(largest[0], abs=1)


def test_without_a_target_nothing_changes() -> None:
    scheduler = Scheduler(BatchingPolicy(max_batch_size=8), {1: [0.001]})
    before = scheduler.reference.capacity.batch_size
    for _ in range(MANY):
        scheduler.observe_answer(1.0)
    assert (scheduler.target_seconds, scheduler.reference.capacity.batch_size) == (float("inf"), before)
    assert scheduler.aftermath_seconds == 1.0
