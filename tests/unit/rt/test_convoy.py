"""Requests that travel together get what each would have got alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_runtime.contract import BatchingConfig, BatchingMode
from slipway_runtime.http.auth import ApiKeys
from tests.unit.rt.convoys import ROW, WIDTH, Answered, House, plain, request, run, settle, taught, totals

pytestmark = pytest.mark.unit

_VARYING = ("_seconds", "_id", "time")


def _content(answers: Sequence[Answered]) -> list[Any]:
    """Without what differs from one time to the next."""
    return [(answer.status, {**answer.body, "request_id": ""}) for answer in answers]


async def _turns(house: House, turns: Sequence[Sequence[bytes]]) -> list[list[Any]]:
    """Each turn's bodies come at the same time, each on a connection of its own."""
    lines = [house.line() for _ in range(max(map(len, turns)))]
    found = []
    for bodies in turns:
        for line, body in zip(lines, bodies, strict=False):
            line.send(request(body))
        await settle()
        found.append([_content(line.answers()) for line in lines[: len(bodies)]])
    return found


_numbers = st.one_of(
    st.integers(-1000, 1000).map(str),
    st.floats(-1e6, 1e6, width=32).map(repr),
    st.sampled_from(["1e39", "-0", "1E2", "3.4028235e38", "nan", "null", "true", '"1"', "[1]", "1,2", "", " 7 ", "01"]),
)


@st.composite
def _bodies(draw: st.DrawFn) -> bytes:
    """Mostly right, in several layouts; sometimes wrong in any way that may confuse who reads them together."""
    rows = draw(st.sampled_from([1, 1, 1, 2, 3]))
    usual = st.integers(-9, 9).map(str)
    count = rows * WIDTH + draw(st.sampled_from([0] * 8 + [1, -1]))
    numbers = [draw(_numbers if draw(st.integers(0, 9)) == 0 else usual) for _ in range(count)]
    layout = draw(st.sampled_from(["flat", "flat", "spaced", "nested", "late", "asked", "named"]))
    data = ",".join(numbers)
    shape = f"[{rows},{WIDTH}]"
    if layout == "nested":
        data = "],[".join(",".join(numbers[at : at + WIDTH]) for at in range(0, len(numbers), WIDTH))
        data = f"[{data}]"
    tensor = f'{{"name":"x","shape":{shape},"datatype":"FP32","data":[{data}]}}'
    if layout == "spaced":
        tensor = f'{{ "name" : "x", "shape" : {shape}, "datatype" : "FP32", "data" : [ {data} ] }}'
    if layout == "late":
        tensor = f'{{"data":[{data}],"name":"x","shape":{shape},"datatype":"FP32"}}'
    more = ',"outputs":[{"name":"z"}]' if layout == "asked" else ',"id":"a \\" ],[ b"' if layout == "named" else ""
    return f'{{"inputs":[{tensor}]{more}}}'.encode()


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[asyncio.Runner, House, House]]:
    """A loop, and a house of either kind in it."""
    with asyncio.Runner() as runner:

        async def build() -> tuple[House, House]:
            return House(together=True), House(together=False)

        houses = runner.run(build())
        yield runner, *houses
        for house in houses:
            house.close()


@given(turns=st.lists(st.lists(_bodies(), min_size=1, max_size=5), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_answers_are_those_of_the_usual_way(
    pair: tuple[asyncio.Runner, House, House], turns: list[list[bytes]]
) -> None:
    runner, together, alone = pair
    # What comes twice is known by its text.
    assert runner.run(_turns(together, turns * 2)) == runner.run(_turns(alone, turns * 2))


def test_what_came_in_one_turn_is_one_batch_and_everyone_gets_the_own_rows() -> None:
    async def ask(house: House) -> None:
        lines = await taught(house, 5)
        for number, line in enumerate(lines):
            line.send(request(plain([[float(number), 0.0, 0.0]])))
        await settle()
        assert house.engine.sizes == [5]
        for number, line in enumerate(lines):
            (answer,) = line.answers()
            y, z = answer.body["outputs"]
            assert (y["data"], z["data"]) == ([2 * number + 1, 1, 1], [number])
            assert y["shape"] == [1, WIDTH]

    run(ask)


def test_requests_of_several_rows_and_lengths_share_a_batch() -> None:
    async def ask(house: House) -> None:
        lines = await taught(house)
        sent = [[[1, 2, 3]], [[4, 5, 6], [7, 8, 9]], [[10.25, 11, 12]]]
        for _ in range(3):
            house.engine.sizes.clear()
            for line, rows in zip(lines, sent, strict=True):
                line.send(request(plain(rows)))
            await settle()
            sums = [line.answers()[0].body["outputs"][1]["data"] for line in lines]
            assert sums == [[6], [15, 24], [33.25]]
        assert house.engine.sizes == [4]

    run(ask)


def test_a_body_that_only_looks_alike_is_refused_alone() -> None:
    async def ask(house: House) -> None:
        lines = await taught(house)
        bodies = [plain([ROW]), plain([ROW]).replace(b"2.0", b"two"), plain([ROW]).replace(b"2.0", b"[2]")]
        for line, body in zip(lines, bodies, strict=True):
            line.send(request(body))
        await settle()
        assert [line.answers()[0].status for line in lines] == [200, 400, 400]

    run(ask)


def test_a_poison_row_fails_alone() -> None:
    async def ask(house: House) -> None:
        lines = await taught(house)
        house.engine.poison = 7.0
        for line, first in zip(lines, (1, 7, 3), strict=True):
            line.send(request(plain([[float(first), 0.0, 0.0]])))
        await settle()
        assert [line.answers()[0].status for line in lines] == [200, 500, 200]

    run(ask)


def test_a_number_that_is_not_finite_is_answered_as_alone() -> None:
    async def ask(house: House) -> None:
        lines = await taught(house, 2)
        lines[0].send(request(plain([[3e38, 3e38, 0]])))
        lines[1].send(request(plain([ROW])))
        await settle()
        odd, usual = lines[0].answers()[0].body["outputs"][0], lines[1].answers()[0].body["outputs"][0]
        assert odd["parameters"] == {"non_finite": True}
        assert odd["data"] == [None, None, 1]
        assert "parameters" not in usual

    run(ask)


def test_a_draining_server_says_so_in_every_answer() -> None:
    async def ask(house: House) -> None:
        (line,) = await taught(house, 1)
        house.server.drain()
        line.send(request(plain([ROW])))
        await settle()
        assert line.answers()[0].headers["connection"] == "close"

    run(ask)


def test_everything_is_counted_as_on_the_usual_way() -> None:
    async def ask(together: bool) -> dict[str, Any]:
        house = House(together=together)
        lines = await taught(house)
        for _ in range(4):
            for line in lines:
                line.send(request(plain([ROW, ROW])))
            await settle()
        http, counts = house.server.counts, house.metrics.dispatch_counts
        predictions = house.metrics.request_counts.predictions
        assert counts.queue_seconds > 0
        assert counts.compute_seconds > 0
        assert predictions.answered_seconds > predictions.decode_seconds > 0
        house.close()
        return {
            "totals": totals(house),
            "http": (http.requests, http.request_bytes, http.response_bytes),
            "answered": (counts.answered, counts.answered_rows, predictions.answered, predictions.failed),
            "rows of batches": sum(rows * number for rows, (number, _) in counts.batches.items()),
            "in flight": (house.metrics.request_counts.in_flight, house.server.budget.used_bytes),
            "histograms": _histogram_counts(house),
        }

    assert asyncio.run(ask(True)) == asyncio.run(ask(False))


def test_each_is_logged_as_on_the_usual_way() -> None:
    async def ask(together: bool) -> list[dict[str, Any]]:
        house = House(together=together, logs=True)
        lines = await taught(house)
        for number, line in enumerate(lines):
            line.send(request(plain([[float(number), 0.0, 0.0]])))
        await settle()
        ids = [line.answers()[0].headers["x-request-id"] for line in lines]
        house.close()
        logged = {line["request_id"]: line for line in map(json.loads, b"".join(house.logged).splitlines())}
        told = [logged[name] for name in ids]
        for line in told:
            assert line["queue_seconds"] > 0
            assert line["total_seconds"] > line["compute_seconds"] > 0
        return [{name: value for name, value in line.items() if not name.endswith(_VARYING)} for line in told]

    assert asyncio.run(ask(True)) == asyncio.run(ask(False))


def test_keys_are_asked_for_and_changes_of_them_count_at_once(tmp_path: Any) -> None:
    async def ask() -> None:
        file = tmp_path / "keys"
        file.write_text("secret\n")
        now = [0.0]
        house = House(keys=ApiKeys(file, now=lambda: now[0]))
        line = house.line()
        for _ in range(4):
            line.send(request(plain([ROW]), "X-API-Key: secret"))
            await settle()
            assert line.answers()[0].status == 200
        line.send(request(plain([ROW])))
        await settle()
        assert line.answers()[0].status == 401
        file.write_text("another one\n")
        now[0] = 2.0
        refused = house.line()
        refused.send(request(plain([ROW]), "X-API-Key: secret"))
        await settle()
        assert refused.answers()[0].status == 401
        house.close()

    asyncio.run(ask())


def test_where_batches_are_switched_off_each_is_run_alone() -> None:
    async def ask() -> None:
        house = House(batching=BatchingConfig(mode=BatchingMode.DISABLED))
        lines = await taught(house)
        for line in lines:
            line.send(request(plain([ROW])))
        await settle()
        assert house.engine.sizes == [1, 1, 1]
        assert [line.answers()[0].status for line in lines] == [200, 200, 200]
        house.close()

    asyncio.run(ask())


def test_clients_whose_text_never_comes_again_cost_no_memory() -> None:
    async def ask(house: House) -> None:
        (line,) = await taught(house, 1)
        for number in range(2000):
            line.send(request(plain([ROW], id=str(number)), f"X-Number: {number}"))
            if number % 50 == 0:
                await settle()
                line.answers()
        await settle()
        shortcut: Any = next(iter(house.opened.shortcuts.values()))
        assert len(shortcut._known) <= 64
        assert len(shortcut._seen) <= 256
        assert len(house.server.heads._known) <= 512

    run(ask)


def _histogram_counts(house: House) -> dict[str, float]:
    """How many values each histogram has."""
    return {
        f"{sample.name}{json.dumps(sample.labels, sort_keys=True)}": sample.value
        for family in house.metrics.request_counts.collect()
        for sample in family.samples
        if sample.name.endswith("_count")
        and sample.labels.get("stage") != "read"  # of what came in one piece there is none
    }
