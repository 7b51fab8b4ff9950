"""Batches that are tried above the largest size so far: what becomes of them, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

import pytest

from slipway_runtime.batching.policy import BatchingPolicy
from slipway_runtime.contract import BatchingMode
from slipway_runtime.dispatch.counts import Growth
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.model import DeviceMemoryError
from tests.unit.rt.dispatch.scripted import CRASHED, Client, ScriptedEngine, doubled, make_client, play, settle

pytestmark = pytest.mark.unit

GROWING = BatchingPolicy(max_batch_size=4, ceiling=16)


def steady_client(engine: ScriptedEngine | None = None, policy: BatchingPolicy = GROWING) -> Client:
    """Every look at its clock is a millisecond later, so larger batches cost little more."""
    looks = count()
    return make_client(engine, policy=policy, clock=lambda: next(looks) / 1000)


def submit_many(client: Client, requests: int = 120) -> None:
    for number in range(requests):
        client.submit(number)


def test_a_size_that_pays_becomes_the_limit_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        client = steady_client()
        submit_many(client, 400)
        await settle()
        client.engine.end_all()
        assert client.engine.sizes[:4] == [4, 4, 4, 6]
        assert max(client.engine.sizes) > 6
        assert client.counts.growth[Growth.KEPT] > 0
        assert all(client.is_right(ticket) for ticket in client.answers)

    caplog.set_level("INFO")
    play(scenario)
    assert "Batches grow from 4 to 6 rows" in caplog.text


def test_a_tried_size_that_does_not_fit_is_halved_and_never_tried_again_and_the_known_ones_stay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def model(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        if len(inputs["x"]) > 4:
            raise DeviceMemoryError("CUDA out of memory")
        return doubled(inputs)

    async def scenario() -> None:
        client = steady_client(ScriptedEngine(model=model))
        submit_many(client)
        await settle()
        client.engine.end_all()
        assert client.engine.sizes[:7] == [4, 4, 4, 6, 3, 3, 4]
        assert max(client.engine.sizes[4:]) == 4
        assert client.counts.growth == {Growth.KEPT: 0, Growth.REFUSED: 1}
        assert len(client.answers) == 120
        assert all(client.is_right(ticket) for ticket in client.answers)

    caplog.set_level("INFO")
    play(scenario)
    assert "Batches of 6 rows could not be run" in caplog.text


def test_a_tried_size_that_no_worker_survives_is_not_tried_again() -> None:
    async def scenario() -> None:
        client = steady_client()
        submit_many(client)
        await settle()
        while client.engine.sizes[-1] <= 4:
            client.engine.end()
        client.engine.end(error=CRASHED, dies=True)
        client.engine.come_back()
        client.engine.end_all()
        assert client.engine.sizes.count(6) == 1
        assert max(client.engine.sizes) == 6
        assert client.counts.growth == {Growth.KEPT: 0, Growth.REFUSED: 1}
        assert all(client.is_right(ticket) for ticket in client.answers)

    play(scenario)


@pytest.mark.parametrize(
    "policy",
    [
        BatchingPolicy(max_batch_size=4),
        BatchingPolicy(max_batch_size=4, ceiling=4),
        BatchingPolicy(max_batch_size=4, ceiling=16, mode=BatchingMode.STATIC),
        BatchingPolicy(max_batch_size=4, ceiling=16, allowed_batch_sizes=(2, 4)),
    ],
    ids=["no ceiling", "configured", "Static", "allowed sizes"],
)
def test_what_was_configured_is_never_exceeded(policy: BatchingPolicy) -> None:
    async def scenario() -> None:
        client = steady_client(policy=policy)
        submit_many(client)
        await settle()
        client.engine.end_all()
        assert max(client.engine.sizes) == 4
        assert client.counts.growth == {Growth.KEPT: 0, Growth.REFUSED: 0}

    play(scenario)


def test_requests_that_are_larger_than_the_limit_stay_whole_in_order_while_sizes_are_tried() -> None:
    async def scenario() -> None:
        client = steady_client()
        for number in range(60):
            client.submit(*range(number, number + 1 + number % 9))
        await settle()
        client.engine.end_all()
        assert client.counts.growth[Growth.KEPT] > 0
        assert len(client.answers) == 60
        assert all(client.is_right(ticket) for ticket in client.answers)

    play(scenario)
