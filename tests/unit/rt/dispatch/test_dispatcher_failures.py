"""What fails stays with its owner: rows, batches, workers, one promise at a time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from slipway_runtime.engines.engine import WorkerHungError
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.model import (
    DeviceMemoryError,
    OutputError,
    RejectedInputError,
    RowError,
    RowsFailedError,
)
from tests.unit.rt.dispatch.scripted import (
    CRASHED,
    ScriptedEngine,
    doubled,
    make_client,
    play,
    poisoned,
    settle,
    until,
)

pytestmark = pytest.mark.unit


def test_one_poison_row_fails_alone_after_log_n_retries() -> None:
    async def scenario() -> None:
        client = make_client(ScriptedEngine(model=poisoned(5)))
        tickets = [client.submit(number) for number in range(8)]
        await settle()
        client.engine.end_all()
        assert client.code(tickets[5]) == "model_error"
        assert tickets[5].error is not None
        assert tickets[5].error.status == 500
        assert all(client.is_right(ticket) for ticket in tickets if ticket is not tickets[5])
        assert client.engine.sizes == [8, 4, 4, 2, 1, 1, 2]
        assert client.counts.item_errors == {"model_error": 1}
        assert client.dispatcher.scheduler.running == 0

    play(scenario)


def test_one_poison_row_fails_alone_where_batches_run_at_once() -> None:
    async def scenario() -> None:
        client = make_client(ScriptedEngine(model=poisoned(5), immediate=True))
        tickets = [client.submit(row) for row in range(8)]
        await settle()
        poison = tickets.pop(5)
        assert client.code(poison) == "model_error"
        assert all(client.is_right(ticket) for ticket in tickets)
        assert not client.dispatcher.unanswered

    play(scenario)


def test_a_poison_row_that_nobody_waits_for_any_more_is_not_blamed_on_its_neighbour() -> None:
    async def scenario() -> None:
        client = make_client(ScriptedEngine(model=poisoned(5)))
        left, neighbour = client.submit(5), client.submit(6)
        await settle()
        client.dispatcher.cancel(left)
        client.engine.end_all()
        assert client.is_right(neighbour)

    play(scenario)


def test_a_rejected_input_is_the_clients_own_fault() -> None:
    async def scenario() -> None:
        client = make_client(ScriptedEngine(model=poisoned(2, error=RejectedInputError)))
        good, bad = client.submit(1), client.submit(2)
        await settle()
        client.engine.end_all()
        assert client.is_right(good)
        assert client.counts.item_errors == {"handler_rejected": 1}
        assert bad.error is not None
        assert (bad.error.status, bad.error.code) == (400, "handler_rejected")

    play(scenario)


@pytest.mark.parametrize("rows", [(1,), (1, 2)])
def test_what_fails_alone_or_with_all_the_others_is_no_item_of_a_good_batch(rows: tuple[int, ...]) -> None:
    async def scenario() -> None:
        client = make_client(ScriptedEngine(model=poisoned(1, 2)))
        tickets = [client.submit(row) for row in rows]
        await settle()
        client.engine.end_all()
        assert [client.code(ticket) for ticket in tickets] == ["model_error"] * len(rows)
        assert client.counts.item_errors == {}

    play(scenario)


def test_rows_that_fail_for_their_own_reasons_leave_the_others_their_answers() -> None:
    async def scenario() -> None:
        client = make_client()
        first, pair, last = client.submit(1), client.submit(2, 3), client.submit(4)
        await settle()
        execution = client.engine.running[0]
        outputs = dict(doubled(execution.inputs))
        client.engine.running.clear()
        execution.error = RowsFailedError({2: RowError(422, "too_dark", "The image is too dark.")}, outputs)
        execution.outputs = outputs
        execution.done(execution)
        assert client.is_right(first)
        assert client.is_right(last)
        assert pair.error is not None
        assert (pair.error.status, pair.error.code) == (422, "too_dark")
        assert client.counts.item_errors == {"too_dark": 1}, "requests, not rows"
        assert client.engine.sizes == [4]

    play(scenario)


def test_a_batch_that_does_not_fit_is_halved_and_none_as_large_is_formed_again() -> None:
    def model(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        if len(inputs["x"]) > 4:
            raise DeviceMemoryError("CUDA out of memory")
        return doubled(inputs)

    async def scenario() -> None:
        client = make_client(ScriptedEngine(model=model))
        tickets = [client.submit(1, 2, 3, 4, 5), client.submit(6), client.submit(7, 8)]
        await settle()
        client.engine.end_all()
        assert client.engine.sizes == [8, 4, 4]
        assert all(client.is_right(ticket) for ticket in tickets)
        more = [client.submit(number) for number in range(8)]
        await settle()
        client.engine.end_all()
        assert client.engine.sizes == [8, 4, 4, 4, 4]
        assert all(client.is_right(ticket) for ticket in more)

    play(scenario)


def test_a_single_row_that_does_not_fit_is_told_so() -> None:
    async def scenario() -> None:
        client = make_client(ScriptedEngine(model=poisoned(1, error=DeviceMemoryError)))
        ticket = client.submit(1)
        await settle()
        client.engine.end_all()
        assert client.code(ticket) == "device_out_of_memory"

    play(scenario)


@pytest.mark.parametrize(
    "outputs",
    [{}, {"y": np.zeros((1, 2), np.int64)}, {"y": np.zeros((), np.int64)}, {"z": np.zeros((2, 2), np.int64)}],
    ids=["nothing", "too few rows", "no rows", "another name"],
)
def test_outputs_that_do_not_fit_fail_the_batch_and_are_logged_once(
    outputs: Mapping[str, Array], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        client = make_client(ScriptedEngine(model=lambda _inputs: outputs))
        for _ in range(2):
            tickets = [client.submit(1), client.submit(2)]
            await settle()
            client.engine.end_all()
            assert [client.code(ticket) for ticket in tickets] == ["output_mismatch"] * 2

    play(scenario)
    assert caplog.text.count("does not fit its signature") == 1


def test_a_mismatch_that_the_model_told_in_a_sentence_stays_one(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        client = make_client(ScriptedEngine())
        ticket = client.submit(1)
        await settle()
        client.engine.end(error=OutputError("Output 'y' has 0 rows for a batch of 1."))
        assert client.code(ticket) == "output_mismatch"
        assert ticket.error is not None
        assert str(ticket.error.message).endswith("of 1.")
        assert ".." not in ticket.error.message

    play(scenario)
    assert "of 1. This is logged once" in caplog.text


@pytest.mark.feature("worker-requests")
def test_after_a_crash_each_request_runs_again_by_itself_and_only_the_guilty_one_fails() -> None:
    async def scenario() -> None:
        client = make_client()
        good, guilty, other = client.submit(1), client.submit(2), client.submit(3)
        await settle()
        client.engine.end(error=CRASHED, dies=True)
        assert not client.answers
        client.engine.come_back()
        client.engine.end()
        client.engine.end(error=CRASHED, dies=True)
        client.engine.come_back()
        client.engine.end()
        assert client.engine.sizes == [3, 1, 1, 1]
        assert client.is_right(good)
        assert client.is_right(other)
        assert client.code(guilty) == "worker_crashed"
        assert client.counts.item_errors == {"worker_crashed": 1}
        assert guilty.attempts == 2

    play(scenario)


def test_a_request_that_hangs_twice_is_given_up() -> None:
    async def scenario() -> None:
        client = make_client()
        ticket = client.submit(1)
        await settle()
        client.engine.end(error=WorkerHungError("30 s"))
        client.engine.end(error=WorkerHungError("30 s"))
        assert ticket.error is not None
        assert (ticket.error.status, ticket.error.code) == (504, "worker_hung")

    play(scenario)


def test_a_worker_that_is_not_back_in_time_is_told_as_retryable() -> None:
    async def scenario() -> None:
        client = make_client()
        begun, queued = client.submit(1, timeout_seconds=0.1), client.submit(2, width=9, timeout_seconds=0.1)
        await settle()
        client.engine.end(error=CRASHED, dies=True)
        await until(lambda: len(client.answers) == 2)
        for ticket in (begun, queued):
            assert ticket.error is not None
            assert (ticket.error.status, ticket.error.code) == (503, "worker_restarted")
            assert "Retry-After" in ticket.error.headers

    play(scenario)


def test_without_any_worker_left_everyone_is_told_at_once() -> None:
    async def scenario() -> None:
        client = make_client()
        begun, queued = client.submit(1), client.submit(2, width=9)
        await settle()
        client.engine.alive = False
        client.engine.end(error=CRASHED)
        late = client.submit(3)
        await settle()
        assert [client.code(ticket) for ticket in (begun, queued, late)] == ["no_workers"] * 3

    play(scenario)


def test_a_worker_that_dies_with_a_batch_ahead_loses_no_request() -> None:
    async def scenario() -> None:
        client = make_client(ScriptedEngine(ahead=1))
        tickets = [client.submit(1)]
        await settle()
        tickets.append(client.submit(2))
        await settle()
        client.engine.end(0, CRASHED)
        client.engine.end_all()
        await settle()
        client.engine.end_all()
        assert all(client.is_right(ticket) for ticket in tickets)

    play(scenario)
