"""No more predictions are in flight than may be, however they come, and every place that was taken is given back."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from tests.unit.rt.convoys import ROW, WIDTH, Answered, House, plain, request, run, settle, taught, totals

pytestmark = pytest.mark.unit

REFUSED = ("v2", 429, "concurrency_limit")


def shed(house: House, reason: str) -> float | None:
    return house.metrics.registry.get_sample_value("slipway_runtime_shed_total", {"reason": reason})


async def at_once(house: House, lines: list[Any], *sent: bytes) -> list[list[Answered]]:
    """What each line is answered when all of them ask in the same turn of the loop."""
    for line, data in zip(lines, sent, strict=True):
        line.send(data)
    await settle()
    return [line.answers() for line in lines]


def statuses(answers: list[list[Answered]]) -> list[list[int]]:
    return [[answer.status for answer in line] for line in answers]


@pytest.mark.parametrize("together", [True, False])
def test_what_exceeds_the_bound_is_refused_in_words_and_with_the_time_to_come_back(together: bool) -> None:
    async def test(house: House) -> None:
        lines = await taught(house, 4)
        answers = await at_once(house, lines, *[request(plain([ROW]))] * 4)
        assert statuses(answers) == [[200], [200], [429], [429]]
        assert house.engine.sizes == [2], "those that were let in shared a batch"
        refused = answers[3][0]
        assert refused.body["code"] == "concurrency_limit"
        assert refused.body["retryable"] is True
        for words in ("one pod may hold: 2", "spec.traffic.maxConcurrency", "Try again later", "more pods"):
            assert words in refused.body["error"]
        assert int(refused.headers["retry-after"]) in (1, 2)
        assert "connection" not in refused.headers, "the connection stays open"
        assert totals(house)[REFUSED] == shed(house, "concurrency_limit") == 2
        assert statuses(await at_once(house, lines[:2], *[request(plain([ROW]))] * 2)) == [[200], [200]]
        assert house.opened.concurrency.in_flight == 0

    run(test, max_concurrency=2, together=together)


def test_nothing_is_bounded_and_nothing_counted_unless_asked_for() -> None:
    async def test(house: House) -> None:
        lines = await taught(house, 8)
        assert statuses(await at_once(house, lines, *[request(plain([ROW]))] * 8)) == [[200]] * 8
        assert house.opened.concurrency.in_flight == 0

    run(test)


def test_a_request_that_leaves_its_companions_is_counted_once() -> None:
    """The second one on its connection makes the first one go alone."""

    async def test(house: House) -> None:
        (line,) = await taught(house, 1)
        line.send(request(plain([ROW])))
        assert house.opened.concurrency.in_flight == 1
        line.send(request(plain([ROW])))
        await settle()
        assert statuses([line.answers()]) == [[200, 429]]
        assert house.opened.concurrency.in_flight == 0

    run(test, max_concurrency=1)


def test_whoever_leaves_gives_the_place_back() -> None:
    async def test(house: House) -> None:
        lines = await taught(house, 3)
        for line in lines[:2]:
            line.send(request(plain([ROW])))
            line.connection.connection_lost(None)
        await settle()
        assert house.opened.concurrency.in_flight == 0
        assert statuses(await at_once(house, lines[2:], request(plain([ROW])))) == [[200]]

    run(test, max_concurrency=2)


def test_a_batch_that_fails_gives_all_its_places_back() -> None:
    async def test(house: House) -> None:
        lines = await taught(house, 3)
        house.engine.poison = -7.0
        poisoned = [-7.0, *ROW[1:]]
        answers = await at_once(house, lines, *(request(plain([row])) for row in (ROW, poisoned, ROW)))
        assert statuses(answers) == [[200], [500], [200]]
        assert house.opened.concurrency.in_flight == 0

    run(test, max_concurrency=3)


@pytest.mark.parametrize("together", [True, False])
def test_a_ride_that_breaks_off_is_counted_as_each_alone(together: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(house: House) -> None:
        lines = await taught(house, 3)

        def break_off(*_: Any) -> bool:
            raise RuntimeError("broken")

        monkeypatch.setattr(house.opened.dispatcher, "run_at_once", break_off)
        assert statuses(await at_once(house, lines, *[request(plain([ROW]))] * 3)) == [[200], [200], [429]]
        assert house.opened.concurrency.in_flight == 0

    run(test, max_concurrency=2, together=together)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", (), 400),
        (plain([[*ROW, 1.0]]), (), 400),
        (b"no gzip", ("Content-Encoding: gzip",), 400),
        (gzip.compress(plain([ROW]), mtime=0), ("Content-Encoding: gzip",), 200),
        (plain([]), (), 200),
        (plain([[1.0] * WIDTH] * 40), ("Accept-Encoding: gzip",), 200),
    ],
)
def test_a_request_gives_its_place_back_whatever_it_is_answered(
    body: bytes, headers: tuple[str, ...], status: int
) -> None:
    async def test(house: House) -> None:
        line = house.line()
        for _ in range(3):
            line.send(request(body, *headers))
            for _ in range(100):
                await settle()
                if line.wire.written:
                    break
            first = line.wire.written.split(b"\r\n", 1)[0]
            assert first.startswith(b"HTTP/1.1 %d " % status)
            line.wire.written = b""
            assert house.opened.concurrency.in_flight == 0

    run(test, max_concurrency=1)


def test_a_fault_of_ours_while_answering_takes_no_place_for_ever() -> None:
    async def test(house: House) -> None:
        line = house.line()
        written = line.wire.writelines, line.wire.write

        def break_off(*_: Any) -> None:
            raise RuntimeError("broken")

        line.wire.writelines = line.wire.write = break_off  # type: ignore[method-assign]
        line.send(request(plain([ROW])))
        await settle()
        assert house.opened.concurrency.in_flight == 0
        line.wire.writelines, line.wire.write = written  # type: ignore[method-assign]

    run(test, max_concurrency=1)
