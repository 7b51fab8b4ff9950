"""Whatever happens in whatever order, every ticket is answered once, with its own rows or with an error of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_runtime.batching.policy import BatchingPolicy, LatencyTarget
from slipway_runtime.contract import BatchingMode
from slipway_runtime.dispatch.ticket import Ticket
from slipway_runtime.engines.engine import WorkerCrashedError, WorkerHungError
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.model import DeviceMemoryError, PredictionError, RowError, RowsFailedError
from tests.unit.rt.dispatch.scripted import Client, ScriptedEngine, doubled, make_client, settle

pytestmark = pytest.mark.unit

ROWS_THAT_FIT = 6
POISON = 1
"""Added to a row number, which is otherwise a multiple of ten, of a request that makes its batch fail."""
REJECTED = 2
"""Of a row that fails for a reason of its own."""


@dataclass(frozen=True)
class Submit:
    rows: int
    width: int = 2
    poison: int = 0
    priority: int = 0


@dataclass(frozen=True)
class End:
    """A running batch ends: well or as its rows have it, or with its worker."""

    position: int
    crash: bool = False
    hang: bool = False
    dies: bool = False


@dataclass(frozen=True)
class Cancel:
    position: int


@dataclass(frozen=True)
class Settle:
    pass


@dataclass(frozen=True)
class ComeBack:
    pass


submits = st.builds(
    Submit,
    rows=st.integers(0, 12),
    width=st.sampled_from([2, 3]),
    poison=st.sampled_from([0, 0, 0, 0, POISON, REJECTED]),
    priority=st.integers(-1, 1),
)
ends = st.builds(
    End,
    position=st.integers(0, 3),
    crash=st.sampled_from([False, False, False, True]),
    hang=st.sampled_from([False, False, False, True]),
    dies=st.booleans(),
)
steps = st.lists(
    st.one_of(submits, submits, ends, st.builds(Cancel, st.integers(0, 20)), st.just(Settle()), st.just(ComeBack())),
    max_size=40,
)
policies = st.builds(
    BatchingPolicy,
    max_batch_size=st.integers(1, 16),
    mode=st.sampled_from([BatchingMode.AUTO, BatchingMode.AUTO, BatchingMode.STATIC, BatchingMode.DISABLED]),
    allowed_batch_sizes=st.sampled_from([(), (4, 16)]),
    target=st.sampled_from([None, LatencyTarget(20.0)]),
    executors=st.integers(1, 3),
)


def misbehaving(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    kinds = inputs["x"][:, 0] % 10
    if len(kinds) > ROWS_THAT_FIT:
        raise DeviceMemoryError("out of memory")
    if (kinds == POISON).any():
        raise PredictionError("index out of range")
    outputs = dict(doubled(inputs))
    bad = np.flatnonzero(kinds == REJECTED).tolist()
    if bad:
        raise RowsFailedError({row: RowError(422, "rejected", "no") for row in bad}, outputs)
    return outputs


@dataclass
class Play:
    client: Client
    cancelled: set[Ticket] = field(default_factory=set)
    tickets: dict[Ticket, Submit] = field(default_factory=dict)
    rows: int = 0

    async def step(self, step: object) -> None:
        client, engine = self.client, self.client.engine
        match step:
            case Submit():
                numbers = range(self.rows * 10, (self.rows + step.rows) * 10, 10)
                self.rows += step.rows
                ticket = client.submit(*numbers, width=step.width, first=step.poison, priority=step.priority)
                self.tickets[ticket] = step
            case End() if engine.running:
                position = step.position % len(engine.running)
                error = WorkerCrashedError("signal 9") if step.crash else WorkerHungError("1 s") if step.hang else None
                engine.end(position, error, dies=error is not None and step.dies)
            case Cancel() if self.tickets:
                ticket = list(self.tickets)[step.position % len(self.tickets)]
                if ticket not in client.answers:
                    client.dispatcher.cancel(ticket)
                    self.cancelled.add(ticket)
            case Settle():
                await settle()
            case ComeBack():
                engine.come_back()

    async def finish(self) -> None:
        """All workers are back, and nothing is interrupted any more."""
        await settle()
        engine = self.client.engine
        engine.come_back()
        while self.client.dispatcher.unanswered or engine.running:
            if not engine.running:
                await asyncio.sleep(0.001)  # a static batch waits for its window
            engine.end_all()


def may_fail_with(submit: Submit, ticket: Ticket) -> set[str]:
    codes = {"worker_crashed", "worker_hung"} if ticket.attempts > 1 else set()
    if submit.rows and submit.poison == POISON:
        codes.add("model_error")
    if submit.rows and submit.poison == REJECTED:
        codes.add("rejected")
    return codes


@settings(max_examples=300, deadline=None)
@given(policies, steps, st.booleans())
def test_every_ticket_is_answered_once_with_its_own_rows_or_its_own_error(
    policy: BatchingPolicy, steps: list[object], immediate: bool
) -> None:
    async def scenario() -> Play:
        engine = ScriptedEngine(slots=policy.executors, model=misbehaving, immediate=immediate)
        play = Play(make_client(engine, policy=policy))
        for step in steps:
            await play.step(step)
        await play.finish()
        return play

    play = asyncio.run(scenario())
    client = play.client
    assert set(client.answers) == set(play.tickets) - play.cancelled
    for ticket in client.answers:
        submit = play.tickets[ticket]
        if isinstance(client.answers[ticket], str):
            assert client.code(ticket) in may_fail_with(submit, ticket)
        else:
            assert submit.poison == 0 or submit.rows == 0
            assert np.array_equal(client.answers[ticket], given_rows(play, ticket))
    assert client.dispatcher.scheduler.running == 0
    assert client.dispatcher.scheduler.queued_requests == 0
    assert client.engine.released == len(client.engine.sizes)


def given_rows(play: Play, ticket: Ticket) -> Array:
    rows: Array = ticket.inputs["x"][: play.tickets[ticket].rows] * 2
    return rows
