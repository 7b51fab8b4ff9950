"""The least wait of late, apart from any server and as the dispatcher tells it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_runtime.dispatch.loopcost import LoopCost
from slipway_runtime.dispatch.outlook import look
from slipway_runtime.dispatch.waits import WINDOW_SECONDS, LeastWait
from tests.unit.rt.dispatch.scripted import Client, ScriptedEngine, make_client, play, settle

pytestmark = pytest.mark.unit

STEPS = st.lists(st.tuples(st.floats(0, 3), st.floats(0, 10)), min_size=1, max_size=40)


@given(STEPS)
def test_the_least_of_the_last_seconds_is_told(steps: list[tuple[float, float]]) -> None:
    waits, now, noted = LeastWait(), 1000.0, []
    for passed, wait in steps:
        now += passed
        waits.note(wait, now)
        noted.append((int(now), wait))
        within = [wait for second, wait in noted if second > int(now) - WINDOW_SECONDS]
        assert waits.least(now) == min(within)
    assert waits.least(now + WINDOW_SECONDS) is None


def test_nothing_is_told_while_nothing_left() -> None:
    assert LeastWait().least(123.0) is None


def least_wait(client: Client, later: float = 0.0) -> float:
    now = asyncio.get_running_loop().time()
    at = max(now, client.dispatcher._clock()) + later
    return look(client.dispatcher.scheduler, LoopCost(at, 0.0, 0), client.counts.waits, at).least_wait_seconds


@pytest.mark.parametrize("immediate", [True, False])
def test_what_is_let_through_at_once_has_waited_for_nothing(immediate: bool) -> None:
    async def scenario() -> None:
        client = make_client(ScriptedEngine(immediate=immediate))
        client.submit(1, 2)
        await settle()
        client.engine.end_all()
        assert least_wait(client) == 0.0

    play(scenario)


def test_a_queue_that_never_empties_shows_as_a_wait_and_is_forgotten_when_it_has() -> None:
    async def scenario() -> None:
        client = make_client()
        client.submit(1)
        await settle()
        client.counts.waits = LeastWait()  # the first one did not wait
        client.submit(2)
        await settle()
        await asyncio.sleep(0.01)
        assert least_wait(client) >= 0.01, "it waits, and nothing has left"
        client.engine.end()
        await settle()
        waited = least_wait(client)
        assert waited >= 0.01
        client.submit(3)
        await settle()
        client.engine.end()
        await settle()
        client.engine.end_all()
        assert least_wait(client) <= waited
        assert least_wait(client, later=WINDOW_SECONDS + 1) == 0.0, "nothing waits, and nothing left of late"

    play(scenario)
