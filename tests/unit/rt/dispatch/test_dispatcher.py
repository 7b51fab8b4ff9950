"""One promise of the dispatcher at a time, with an engine that fails when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from slipway_runtime.batching.policy import BatchingPolicy, LatencyTarget
from slipway_runtime.contract import BatchingMode
from slipway_runtime.dispatch import answers
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.signature import Signature
from tests.unit.rt.dispatch.scripted import (
    FACTS,
    SIGNATURE,
    Client,
    ScriptedEngine,
    doubled,
    make_client,
    play,
    poisoned,
    settle,
    until,
)

pytestmark = pytest.mark.unit


def test_what_arrives_in_one_turn_shares_a_batch_and_everyone_gets_its_own_rows() -> None:
    async def scenario() -> None:
        client = make_client()
        tickets = [client.submit(1), client.submit(2, 3), client.submit(4)]
        await settle()
        assert client.engine.sizes == [4]
        client.engine.end()
        assert all(client.is_right(ticket) for ticket in tickets)
        assert [ticket.batch_rows for ticket in tickets] == [4, 4, 4]
        assert client.engine.released == 1
        assert client.dispatcher.unanswered == 0

    play(scenario)


def test_what_arrives_together_is_answered_in_the_same_turn_by_an_engine_that_can() -> None:
    async def scenario() -> None:
        client = make_client(ScriptedEngine(immediate=True))
        tickets = [client.submit(1), client.submit(2, 3), client.submit(4)]
        await asyncio.sleep(0)
        assert client.engine.sizes == [4]
        assert all(client.is_right(ticket) for ticket in tickets)
        assert client.engine.released == 1
        assert client.counts.answered_rows == 4
        await asyncio.sleep(0)
        assert client.counts.batches[4][0] == 1, "counted once the answers are on their way"

    play(scenario)


def test_a_lone_request_is_neither_waited_with_nor_copied() -> None:
    async def scenario() -> None:
        client = make_client()
        ticket = client.submit(1, 2)
        await settle()
        assert client.engine.running[0].inputs is ticket.inputs
        assert client.engine.allocated == 0

    play(scenario)


def test_the_next_batch_runs_before_the_answers_of_the_last_are_handed_on() -> None:
    async def scenario() -> None:
        client = make_client()
        first = client.submit(1)
        await settle()
        client.submit(2)
        seen = []
        first.done = lambda _ticket: seen.append(len(client.engine.running))
        client.engine.end()
        assert seen == [1]

    play(scenario)


def test_a_request_larger_than_any_batch_comes_back_whole_and_in_order() -> None:
    async def scenario() -> None:
        client = make_client(ScriptedEngine(slots=3), policy=BatchingPolicy(max_batch_size=4, executors=3))
        ticket = client.submit(*range(10))
        await settle()
        assert client.engine.sizes == [4, 4, 2]
        client.engine.end(1)
        client.engine.end(1)
        assert ticket not in client.answers
        client.engine.end(0)
        assert client.is_right(ticket)

    play(scenario)


@pytest.mark.feature("padding")
def test_batches_are_padded_to_allowed_sizes_with_rows_that_the_model_takes() -> None:
    seen: list[Array] = []

    def model(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        seen.append(inputs["x"].copy())
        return doubled(inputs)

    async def scenario() -> None:
        policy = BatchingPolicy(max_batch_size=8, allowed_batch_sizes=(4, 8))
        client = make_client(ScriptedEngine(model=model), policy=policy)
        tickets = [client.submit(1), client.submit(2)]
        await settle()
        client.engine.end()
        assert seen[0][:, 0].tolist() == [1, 2, 1, 1]
        assert all(client.is_right(ticket) for ticket in tickets)

    play(scenario)


def test_a_part_that_is_padded_to_the_size_of_its_request_is_still_a_part() -> None:
    async def scenario() -> None:
        client = make_client(policy=BatchingPolicy(max_batch_size=4, allowed_batch_sizes=(4,)))
        client.dispatcher.scheduler.refuse_size(FACTS.bucket, 4)
        ticket = client.submit(1, 2, 3, 4)
        await settle()
        client.engine.end_all()
        assert client.engine.sizes == [4, 4]
        assert client.is_right(ticket)

    play(scenario)


def test_shapes_are_batched_apart() -> None:
    async def scenario() -> None:
        client = make_client()
        tickets = [client.submit(1), client.submit(2, width=5), client.submit(3), client.submit(4, width=5)]
        await settle()
        while client.engine.running:
            client.engine.end()
        assert sorted(client.engine.sizes) == [2, 2]
        assert all(client.is_right(ticket) for ticket in tickets)

    play(scenario)


def test_a_model_without_a_batch_runs_requests_one_by_one() -> None:
    fixed = Signature(
        tuple(spec.model_copy(update={"shape": [2, 2]}) for spec in SIGNATURE.inputs),
        tuple(spec.model_copy(update={"shape": [2, 2]}) for spec in SIGNATURE.outputs),
    )
    facts = replace(FACTS, signature=fixed, points={1: (0.001,)}, bucket=((2, 2),), max_batch_size=1)

    async def scenario() -> None:
        client = make_client(facts=facts, policy=BatchingPolicy(max_batch_size=1))
        tickets = [client.submit(1, 2), client.submit(3, 4)]
        await settle()
        assert len(client.engine.running) == 1
        client.engine.end_all()
        assert client.engine.sizes == [2, 2]
        assert all(client.is_right(ticket) for ticket in tickets)

    play(scenario)


def test_rows_that_are_no_rows_are_never_mixed() -> None:
    """A model that sums over its batch gives one row for many."""
    facts = replace(FACTS, row_wise=False)

    async def scenario() -> None:
        engine = ScriptedEngine(model=lambda inputs: {"y": inputs["x"].sum(axis=0)})
        client = make_client(engine, facts, BatchingPolicy(max_batch_size=1))
        ticket, other = client.submit(1, 2), client.submit(3)
        await settle()
        client.engine.end_all()
        assert client.engine.sizes == [2, 1]
        assert [np.asarray(client.answers[each]).tolist() for each in (ticket, other)] == [[3, 3], [3, 3]]

    play(scenario)


@pytest.mark.feature("running-deadline")
def test_a_deadline_is_answered_while_the_model_still_runs_and_its_rows_are_dropped() -> None:
    async def scenario() -> None:
        client = make_client()
        hasty, patient = client.submit(1, timeout_seconds=0.05), client.submit(2)
        await settle()
        await until(lambda: hasty in client.answers)
        assert client.code(hasty) == "deadline_running"
        assert patient not in client.answers
        client.engine.end()
        assert client.is_right(patient)

    play(scenario)


def test_a_deadline_in_the_queue_is_answered_by_the_timer() -> None:
    async def scenario() -> None:
        client = make_client()
        client.submit(1)
        await settle()
        waiting = client.submit(2, timeout_seconds=0.05)
        await until(lambda: waiting in client.answers)
        assert client.code(waiting) == "deadline_in_queue"
        assert waiting.error is not None
        assert waiting.error.status == 504

    play(scenario)


def test_what_came_too_late_is_not_computed() -> None:
    async def scenario() -> None:
        client = make_client()
        ticket = client.submit(1, timeout_seconds=0.0)
        await settle()
        assert client.code(ticket) == "deadline_in_queue"
        assert not client.engine.sizes

    play(scenario)


def test_overload_is_refused_with_the_time_to_come_back() -> None:
    async def scenario() -> None:
        client = make_client(policy=BatchingPolicy(max_batch_size=16, max_queue_length=2))
        client.submit(0)
        await settle()
        tickets = [client.submit(number) for number in range(3)]
        await settle()
        refused = tickets[-1]
        assert refused.error is not None
        assert (refused.error.status, refused.error.code) == (429, "queue_full")
        assert int(refused.error.headers["Retry-After"]) >= 1
        assert len(client.answers) == 1

    play(scenario)


@pytest.mark.feature("early-rejection", "latency-target")
def test_what_will_miss_the_target_is_refused_at_arrival() -> None:
    async def scenario() -> None:
        facts = replace(FACTS, points={1: (10.0,), 16: (160.0,)})
        policy = BatchingPolicy(max_batch_size=16, target=LatencyTarget(15.0))
        client = make_client(facts=facts, policy=policy)
        client.submit(0)
        await settle()
        tickets = [client.submit(1), client.submit(2)]
        await settle()
        assert [client.code(ticket) for ticket in tickets] == ["predicted_late"] * 2

    play(scenario)


def test_a_cancelled_request_leaves_the_queue_and_a_running_one_is_not_answered() -> None:
    async def scenario() -> None:
        client = make_client()
        arrived = client.submit(0)
        client.dispatcher.cancel(arrived)
        running = client.submit(1)
        await settle()
        queued, other = client.submit(2), client.submit(3)
        await settle()
        client.dispatcher.cancel(queued)
        client.dispatcher.cancel(running)
        client.engine.end_all()
        assert client.engine.sizes == [1, 1]
        assert list(client.answers) == [other]
        assert client.is_right(other)
        assert client.dispatcher.unanswered == 0

    play(scenario)


def test_a_static_batch_starts_by_the_timer() -> None:
    async def scenario() -> None:
        policy = BatchingPolicy(max_batch_size=4, mode=BatchingMode.STATIC, max_queue_delay_seconds=0.02)
        client = make_client(policy=policy)
        ticket = client.submit(1)
        await settle()
        assert not client.engine.running
        await until(lambda: bool(client.engine.running))
        client.engine.end()
        assert client.is_right(ticket)

    play(scenario)


def test_an_end_that_is_hurried_answers_everyone() -> None:
    async def scenario() -> None:
        client = make_client()
        running = client.submit(1)
        await settle()
        queued = client.submit(2)
        await settle()
        arrived = client.submit(3)
        client.dispatcher.abandon(answers.draining)
        assert [client.code(ticket) for ticket in (running, queued, arrived)] == ["draining"] * 3
        client.engine.end_all()
        assert client.dispatcher.unanswered == 0

    play(scenario)


def test_an_answer_that_cannot_be_handed_on_takes_none_with_it(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        client = make_client()
        broken, other = client.submit(1), client.submit(2)

        def fail(_ticket: object) -> None:
            raise ValueError("no way to say this")

        broken.done = fail
        await settle()
        client.engine.end()
        assert client.is_right(other)

    play(scenario)
    assert "could not be handed on" in caplog.text


def test_batches_are_counted() -> None:
    async def scenario() -> Client:
        client = make_client(ScriptedEngine(model=poisoned(5)))
        for number in (1, 5):
            client.submit(number)
        await settle()
        client.engine.end_all()
        return client

    client = asyncio.run(scenario())
    families = {family.name: family for family in client.counts.collect()}
    rows = families["slipway_runtime_batch_rows"].samples
    assert [sample.value for sample in rows if sample.name.endswith("_sum")] == [2.0]
    retries = {sample.labels["cause"]: sample.value for sample in families["slipway_runtime_batch_retries"].samples}
    assert retries == {"bisect": 1, "memory": 0, "crash": 0, "hang": 0}


def test_the_next_batch_is_handed_over_when_the_engine_asks_for_it_and_no_sooner() -> None:
    async def scenario() -> None:
        client = make_client()
        first = client.submit(1)
        await settle()
        assert client.engine.running[0].expected_seconds > 0
        waiting = [client.submit(2), client.submit(3)]
        await settle()
        assert client.engine.sizes == [1]
        client.engine.ask_for_more()
        assert client.engine.sizes == [1, 2]
        late = client.submit(4)
        await settle()
        assert client.engine.sizes == [1, 2]
        client.engine.ahead = 0
        client.engine.end()
        assert client.is_right(first)
        assert client.engine.sizes == [1, 2]
        client.engine.end()
        assert all(client.is_right(ticket) for ticket in waiting)
        assert client.engine.sizes == [1, 2, 1]
        client.engine.end()
        assert client.is_right(late)
        assert client.dispatcher.unanswered == 0

    play(scenario)


def test_a_batch_that_was_handed_over_early_is_timed_from_when_the_slot_was_its_own() -> None:
    async def scenario() -> None:
        client = make_client(ScriptedEngine(ahead=1))
        client.submit(1)
        await settle()
        ticket = client.submit(2)
        await settle()
        assert len(client.engine.running) == 2
        await asyncio.sleep(0.05)
        client.engine.end()
        client.engine.end()
        assert client.is_right(ticket)
        count, seconds = client.counts.batches[1]
        assert count == 2
        # The first took the time that both were there.
        assert seconds < 2 * 0.05

    play(scenario)
