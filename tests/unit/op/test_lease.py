"""The Lease: never two that may write, whatever networks and clocks do; and always one in the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from slipway_operator.election import Elector
from slipway_operator.errors import ConflictError, NotFoundError, TransientError
from slipway_operator.lease import Lease, LeaseTimes, Record, Standing
from slipway_operator.metrics import Metrics
from slipway_operator.resources import Key
from tests.unit.op.virtual_time import run

pytestmark = pytest.mark.unit

KEY = Key("slipway-system", "slipway-operator")
TIMES = LeaseTimes()


@dataclass(frozen=True)
class Trip:
    """What becomes of one request."""

    there_seconds: float = 0.01
    back_seconds: float = 0.01
    arrives: bool = True
    answered: bool = True


@dataclass
class Server:
    """One Lease object with versions, as an API server keeps it."""

    body: dict[str, Any] | None = None
    version: int = 0
    trips: list[Trip] = field(default_factory=list)
    """Of the requests to come; all go well when they are used up."""
    writers: list[str] = field(default_factory=list)
    """Whoever was written down as the holder, in order."""

    async def get_lease(self, key: Key, timeout_seconds: float) -> dict[str, Any]:
        return await self._carry(self._read)

    async def put_lease(self, key: Key, body: dict[str, Any], timeout_seconds: float) -> dict[str, Any]:
        return await self._carry(lambda: self._write(deepcopy(body)))

    async def _carry(self, act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A trip may be longer than any timeout: so it is for a process that was stopped on its way."""
        trip = self.trips.pop(0) if self.trips else Trip()
        await asyncio.sleep(trip.there_seconds)
        if not trip.arrives:
            raise TransientError(0, "no way there")
        try:
            found = act()
        finally:
            await asyncio.sleep(trip.back_seconds)
        if not trip.answered:
            raise TransientError(0, "no way back")
        return found

    def _read(self) -> dict[str, Any]:
        if self.body is None:
            raise NotFoundError(404, "no such lease")
        return deepcopy(self.body)

    def _write(self, body: dict[str, Any]) -> dict[str, Any]:
        known = self.body["metadata"]["resourceVersion"] if self.body is not None else None
        if body["metadata"].get("resourceVersion") != known:
            raise ConflictError(409, "another version")
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        self.body = body
        self.writers.append(body["spec"]["holderIdentity"])
        return deepcopy(body)


@dataclass
class Process:
    """One operator as far as the Lease goes, with a clock of its own."""

    elector: Elector
    task: asyncio.Task[None]
    metrics: Metrics

    @property
    def writes(self) -> bool:
        return self.elector.seconds_for_a_write() > 0

    async def kill(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    async def terminate(self) -> None:
        await self.kill()
        await self.elector.release()


def start(server: Server, name: str, *, offset: float = 0.0, rate: float = 1.0, times: LeaseTimes = TIMES) -> Process:
    loop = asyncio.get_running_loop()
    metrics = Metrics()
    elector = Elector(Lease(name, times), KEY, server, metrics, now=lambda: offset + rate * loop.time())
    return Process(elector, asyncio.create_task(elector.run()), metrics)


async def seconds_until(holds: Callable[[], bool], limit: float = 120.0) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not holds():
        assert loop.time() < began + limit, f"not within {limit} s"
        await asyncio.sleep(0.05)
    return loop.time() - began


def test_the_first_to_come_holds_it_at_once_and_the_others_stand_by() -> None:
    async def scenario() -> None:
        server = Server()
        first = start(server, "a")
        assert await seconds_until(lambda: first.writes) < 0.5
        second = start(server, "b")
        await asyncio.sleep(60)
        assert (first.writes, second.writes) == (True, False)
        assert set(server.writers) == {"a"}
        assert server.body is not None
        assert server.body["spec"]["leaseTransitions"] == 0

    run(scenario())


def test_after_a_kill_another_takes_over_when_the_lease_has_expired() -> None:
    async def scenario() -> None:
        server = Server()
        first = start(server, "a")
        await seconds_until(lambda: first.writes)
        second = start(server, "b")
        await asyncio.sleep(30)
        await first.kill()
        taken = await seconds_until(lambda: second.writes)
        assert TIMES.duration_seconds - TIMES.retry_seconds < taken < TIMES.duration_seconds + TIMES.retry_seconds
        assert server.body is not None
        assert server.body["spec"]["leaseTransitions"] == 1
        assert second.elector.lease.former_seen_at is not None

    run(scenario())


def test_a_lease_that_is_handed_over_is_taken_within_a_second() -> None:
    async def scenario() -> None:
        server = Server()
        first = start(server, "a")
        await seconds_until(lambda: first.writes)
        second = start(server, "b")
        await asyncio.sleep(10)
        await first.terminate()
        assert not first.writes
        assert await seconds_until(lambda: second.writes) <= TIMES.retry_seconds / 2 + 0.1

    run(scenario())


def test_a_container_that_is_started_again_takes_its_own_lease_back_at_once() -> None:
    async def scenario() -> None:
        server = Server()
        first = start(server, "a")
        await seconds_until(lambda: first.writes)
        await first.kill()
        again = start(server, "a")
        assert await seconds_until(lambda: again.writes) < 0.5

    run(scenario())


def test_of_two_with_one_name_the_elder_gives_up() -> None:
    async def scenario() -> None:
        server = Server()
        elder = start(server, "a")
        await seconds_until(lambda: elder.writes)
        younger = start(server, "a")
        await seconds_until(lambda: younger.writes)
        await seconds_until(lambda: elder.elector.lease.standing is Standing.LOST, TIMES.retry_seconds * 2)
        assert younger.writes

    run(scenario())


def test_an_outage_fences_the_holder_and_it_goes_on_after_it_when_nobody_took_over() -> None:
    async def scenario() -> None:
        server = Server()
        only = start(server, "a")
        await seconds_until(lambda: only.writes)
        server.trips = [Trip(arrives=False)] * 30
        fenced_after = await seconds_until(lambda: not only.writes)
        assert fenced_after < TIMES.renew_deadline_seconds + 0.1
        await seconds_until(lambda: only.writes)
        assert only.elector.lease.standing is Standing.LEADING
        assert set(server.writers) == {"a"}

    run(scenario())


def test_a_renewal_whose_answer_is_lost_does_not_lose_the_lease() -> None:
    async def scenario() -> None:
        server = Server()
        only = start(server, "a")
        await seconds_until(lambda: only.writes)
        server.trips = [Trip(answered=False)]
        for _ in range(100):
            assert only.writes
            await asyncio.sleep(0.2)

    run(scenario())


def test_a_lease_that_is_deleted_is_made_again_by_its_holder_and_by_nobody_else() -> None:
    async def scenario() -> None:
        server = Server()
        first = start(server, "a")
        await seconds_until(lambda: first.writes)
        second = start(server, "b")
        await asyncio.sleep(10)
        server.body = None
        await asyncio.sleep(30)
        assert (first.writes, second.writes) == (True, False)

    run(scenario())


def test_who_finds_another_in_its_place_ends() -> None:
    async def scenario() -> None:
        server = Server()
        first = start(server, "a")
        await seconds_until(lambda: first.writes)
        second = start(server, "b")
        await asyncio.sleep(5)
        server.trips = [Trip(there_seconds=40.0, arrives=False) if index == 0 else Trip() for index in range(2)]
        # Whichever of the two the slow trip hits, one of them leads in the end, and never both.
        for _ in range(400):
            assert not (first.writes and second.writes)
            await asyncio.sleep(0.2)
        assert first.writes != second.writes
        if second.writes:
            assert first.elector.lease.standing is Standing.LOST
            assert first.task.done()

    run(scenario())


TRIPS = st.builds(
    Trip,
    there_seconds=st.sampled_from([0.0, 0.01, 0.5, 3.0, 9.0, 20.0]),
    back_seconds=st.sampled_from([0.0, 0.01, 0.5, 3.0, 9.0, 20.0]),
    arrives=st.integers(0, 4).map(bool),
    answered=st.integers(0, 4).map(bool),
)
RATES = st.floats(0.82, 1.18)
"""The fastest clock gains less than `duration_seconds / renew_deadline_seconds` on the slowest."""
DEEDS = st.tuples(st.floats(0.1, 25.0), st.sampled_from(["kill", "terminate", "start", "delete", "rest"]))


@settings(deadline=None, max_examples=60, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    clocks=st.lists(st.tuples(st.floats(0, 1e6), RATES), min_size=2, max_size=3),
    trips=st.lists(TRIPS, max_size=80),
    deeds=st.lists(DEEDS, max_size=8),
)
def test_never_may_two_write_and_in_the_end_one_does(
    clocks: list[tuple[float, float]], trips: list[Trip], deeds: list[tuple[float, str]]
) -> None:
    async def scenario() -> None:
        server = Server(trips=list(trips))
        processes = [
            start(server, f"p{index}", offset=offset, rate=rate) for index, (offset, rate) in enumerate(clocks)
        ]
        started = len(processes)

        async def exists() -> None:
            """A process that never saw the Lease cannot know that it was there, nor need it once all others ended."""
            await seconds_until(lambda: server.body is not None or all(process.task.done() for process in processes))

        async def watch() -> None:
            while True:
                writers = [process.elector.lease.identity for process in processes if process.writes]
                assert len(writers) <= 1, f"{writers} may write at the same time"
                await asyncio.sleep(0.1)

        watcher = asyncio.create_task(watch())
        for seconds, deed in deeds:
            await asyncio.sleep(seconds)
            victim = next((process for process in processes if process.writes), None)
            if deed == "kill" and victim is not None:
                await victim.kill()
            elif deed == "terminate" and victim is not None:
                await victim.terminate()
            elif deed == "start":
                await exists()
                offset, rate = clocks[started % len(clocks)]
                processes.append(start(server, f"p{started}", offset=offset, rate=rate))
                started += 1
            elif deed == "delete" and _all_know_of_it(processes):
                server.body = None
        server.trips.clear()
        await exists()
        processes.append(start(server, "last"))
        await seconds_until(lambda: watcher.done() or any(process.writes for process in processes))
        await asyncio.sleep(60)
        assert watcher.done() or any(process.writes for process in processes)
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher

    run(scenario())


def _all_know_of_it(processes: list[Process]) -> bool:
    alive = [process for process in processes if not process.task.done()]
    return bool(alive) and all(process.elector.lease.record is not None for process in alive)


@given(
    elapsed=st.floats(0, 60),
    duration=st.integers(3, 60),
    share=st.floats(0.2, 0.8),
)
def test_no_write_that_is_let_through_may_last_longer_than_the_lease(
    elapsed: float, duration: int, share: float
) -> None:
    times = LeaseTimes(duration, share * duration, share * duration / 3)
    lease = Lease("a", times)
    server = Server()
    body = server._write({"metadata": {}, "spec": {"holderIdentity": "a"}})
    lease.wrote(Record.parse(body), 100.0)
    seconds = lease.seconds_for_a_write(100.0 + elapsed)
    if elapsed < times.renew_deadline_seconds - 1e-6:
        assert 0 < seconds <= duration - elapsed + 1e-6
    elif elapsed > times.renew_deadline_seconds + 1e-6:
        assert seconds == 0
    lease.let_go()
    assert lease.seconds_for_a_write(100.0) == 0
