"""The queue: no key is lost, none is processed twice at once, failures make it wait."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_operator.workqueue import BACK_OFF_LIMIT_SECONDS, WorkQueue

pytestmark = pytest.mark.unit


def no_jitter() -> WorkQueue[str]:
    return WorkQueue(jitter=lambda: 1.0)


def test_a_key_waits_once_however_often_it_is_added() -> None:
    async def scenario() -> None:
        queue = no_jitter()
        for _ in range(3):
            queue.add("a")
        queue.add("b")
        assert len(queue) == 2
        assert [await queue.get(), await queue.get()] == ["a", "b"]

    asyncio.run(scenario())


def test_a_key_that_is_added_while_it_is_processed_comes_again_after_that() -> None:
    async def scenario() -> None:
        queue = no_jitter()
        queue.add("a")
        key = await queue.get()
        assert key == "a"
        queue.add("a")
        assert len(queue) == 0
        queue.done("a")
        assert await queue.get() == "a"

    asyncio.run(scenario())


def test_each_failure_in_a_row_doubles_the_wait_up_to_the_limit() -> None:
    async def scenario() -> None:
        queue = no_jitter()
        waits = [queue.add_after_failure("a") for _ in range(40)]
        assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
        assert waits[-1] == BACK_OFF_LIMIT_SECONDS
        queue.succeeded("a")
        assert queue.add_after_failure("a") == 0.5
        assert queue.add_after_failure("b", at_least_seconds=7.0) == 7.0
        queue.close()

    asyncio.run(scenario())


def test_the_earliest_of_several_wake_ups_counts() -> None:
    async def scenario() -> None:
        queue = no_jitter()
        queue.add_after("a", 60)
        queue.add_after("a", 0.01)
        queue.add_after("a", 30)
        assert await asyncio.wait_for(queue.get(), 5) == "a"
        queue.close()

    asyncio.run(scenario())


def test_an_event_does_not_wait_for_a_back_off() -> None:
    async def scenario() -> None:
        queue = no_jitter()
        queue.add_after("a", 60)
        queue.add("a")
        assert await asyncio.wait_for(queue.get(), 1) == "a"
        queue.close()

    asyncio.run(scenario())


def test_a_closed_queue_hands_out_nothing() -> None:
    async def scenario() -> None:
        queue = no_jitter()
        waiting = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.close()
        assert await waiting is None
        queue.add("a")
        assert await queue.get() is None

    asyncio.run(scenario())


@given(st.lists(st.sampled_from("abc"), max_size=60), st.integers(1, 4))
def test_after_the_last_add_of_a_key_it_is_processed_and_never_twice_at_once(keys: list[str], workers: int) -> None:
    async def scenario() -> None:
        queue = no_jitter()
        busy: Counter[str] = Counter()
        version: Counter[str] = Counter()
        seen: Counter[str] = Counter()

        async def work() -> None:
            while (key := await queue.get()) is not None:
                busy[key] += 1
                assert busy[key] == 1
                noticed = version[key]
                await asyncio.sleep(0)
                seen[key] = noticed
                busy[key] -= 1
                queue.done(key)

        tasks = [asyncio.create_task(work()) for _ in range(workers)]
        for key in keys:
            version[key] += 1
            queue.add(key)
            if version[key] % 2:
                await asyncio.sleep(0)
        for _ in range(4 * len(keys) + 10):
            await asyncio.sleep(0)
        queue.close()
        await asyncio.gather(*tasks)
        assert seen == version

    asyncio.run(scenario())
