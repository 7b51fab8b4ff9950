"""Requests that travel together get what each would have got alone."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_runtime.contract import BatchingConfig, BatchingMode
from slipway_runtime.http.auth import ApiKeys
from tests.unit.rt.convoys import WIDTH, Answered, House, Line, plain, request, settle

pytestmark = pytest.mark.unit

ROW = [1.0, 2.0, 3.5]


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


async def _taught(house: House, lines: int = 3) -> list[Line]:
    """Connections of a house that knows the text of `plain([ROW])`."""
    found = [house.line() for _ in range(lines)]
    for _ in range(2):
        for line in found:
            line.send(request(plain([ROW])))
            await settle()
            assert line.answers()[0].status == 200
    house.engine.sizes.clear()
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


@given(st.lists(st.lists(_bodies(), min_size=1, max_size=5), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_answers_are_those_of_the_usual_way(turns: list[list[bytes]]) -> None:
    async def ask(together: bool) -> list[list[Any]]:
        house = House(together=together)
        try:
            return await _turns(house, turns * 2)  # what comes twice is known by its text
        finally:
            house.close()

    assert asyncio.run(ask(True)) == asyncio.run(ask(False))


def run(test: Any) -> Any:
    """`test(house)` in a loop, with a house of its own."""

    async def go() -> Any:
        house = House()
        try:
            return await test(house)
        finally:
            house.close()

    return asyncio.run(go())


def test_what_came_in_one_turn_is_one_batch_and_everyone_gets_the_own_rows() -> None:
    async def ask(house: House) -> None:
        lines = await _taught(house, 5)
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
        lines = await _taught(house)
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
        lines = await _taught(house)
        bodies = [plain([ROW]), plain([ROW]).replace(b"2.0", b"two"), plain([ROW]).replace(b"2.0", b"[2]")]
        for line, body in zip(lines, bodies, strict=True):
            line.send(request(body))
        await settle()
        assert [line.answers()[0].status for line in lines] == [200, 400, 400]

    run(ask)


def test_a_poison_row_fails_alone() -> None:
    async def ask(house: House) -> None:
        lines = await _taught(house)
        house.engine.poison = 7.0
        for line, first in zip(lines, (1, 7, 3), strict=True):
            line.send(request(plain([[float(first), 0.0, 0.0]])))
        await settle()
        assert [line.answers()[0].status for line in lines] == [200, 500, 200]

    run(ask)


def test_a_number_that_is_not_finite_is_answered_as_alone() -> None:
    async def ask(house: House) -> None:
        lines = await _taught(house, 2)
        lines[0].send(request(plain([[3e38, 3e38, 0]])))
        lines[1].send(request(plain([ROW])))
        await settle()
        odd, usual = lines[0].answers()[0].body["outputs"][0], lines[1].answers()[0].body["outputs"][0]
        assert odd["parameters"] == {"non_finite": True}
        assert odd["data"] == [None, None, 1]
        assert "parameters" not in usual

    run(ask)


def test_headers_say_the_same_as_on_the_usual_way() -> None:
    async def ask(house: House) -> None:
        usual = house.line()
        usual.send(request(plain([ROW]), "X-Priority: 0"))
        await settle()
        (line,) = await _taught(house, 1)
        line.send(request(plain([ROW])))
        await settle()
        alone, together = usual.answers()[0].headers, line.answers()[0].headers
        assert together.keys() == alone.keys()
        form = r'decode;dur=[\d.]+, queue;dur=[\d.]+, compute;dur=[\d.]+, total;dur=[\d.]+, batch;desc="1"'
        assert re.fullmatch(form, alone["server-timing"])
        assert re.fullmatch(form, together["server-timing"])
        for name in ("content-type", "content-length", "date", "x-model-version"):
            assert together[name] == alone[name]
        assert together["x-request-id"] != alone["x-request-id"]

    run(ask)


@pytest.mark.parametrize("header", ["X-Request-Id: mine", "traceparent: 00-" + "1" * 32 + "-" + "2" * 16 + "-01"])
def test_a_request_with_an_identity_of_its_own_keeps_it(header: str) -> None:
    async def ask(house: House) -> None:
        (line,) = await _taught(house, 1)
        for _ in range(3):
            line.send(request(plain([ROW]), header))
            await settle()
            (answer,) = line.answers()
            name, _, value = header.lower().partition(": ")
            told = answer.headers["x-request-id" if name == "x-request-id" else "traceresponse"]
            assert value[3:35] in told if name == "traceparent" else told == value

    run(ask)


def test_pipelined_requests_are_answered_in_order() -> None:
    async def ask(house: House) -> None:
        (line,) = await _taught(house, 1)
        first, second, third = (request(plain([[float(number), 0.0, 0.0]])) for number in (1, 2, 3))
        line.send(first)  # waits for its company
        line.send(second + third)
        await settle()
        assert [answer.body["outputs"][1]["data"] for answer in line.answers()] == [[1], [2], [3]]

    run(ask)


def test_a_request_in_pieces_is_answered() -> None:
    async def ask(house: House) -> None:
        (line,) = await _taught(house, 1)
        whole = request(plain([ROW]))
        for cut in (10, len(whole) - 5):
            line.send(whole[:cut])
            await settle()
            line.send(whole[cut:])
            await settle()
            assert line.answers()[0].status == 200

    run(ask)


def test_who_leaves_is_counted_and_the_others_are_answered() -> None:
    async def ask(house: House) -> None:
        lines = await _taught(house)
        for line in lines:
            line.send(request(plain([ROW])))
        lines[1].connection.connection_lost(None)
        await settle()
        assert house.engine.sizes == [2]
        assert [len(line.answers()) for line in lines] == [1, 0, 1]
        assert _totals(house)["v2", 499, "client_closed"] == 1
        assert house.server.budget.used_bytes == 0

    run(ask)


def test_a_client_that_ends_its_side_still_gets_its_answer() -> None:
    async def ask(house: House) -> None:
        (line,) = await _taught(house, 1)
        line.send(request(plain([ROW])))
        assert line.connection.eof_received()
        await settle()
        assert b"HTTP/1.1 200" in line.wire.written

    run(ask)


def test_a_draining_server_says_so_in_every_answer() -> None:
    async def ask(house: House) -> None:
        (line,) = await _taught(house, 1)
        house.server.drain()
        line.send(request(plain([ROW])))
        await settle()
        assert line.answers()[0].headers["connection"] == "close"

    run(ask)


def test_everything_is_counted_as_on_the_usual_way() -> None:
    async def ask(together: bool) -> dict[str, Any]:
        house = House(together=together)
        lines = await _taught(house)
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
            "totals": _totals(house),
            "http": (http.requests, http.request_bytes, http.response_bytes),
            "answered": (counts.answered, counts.answered_rows, predictions.answered, predictions.failed),
            "rows of batches": sum(rows * number for rows, (number, _) in counts.batches.items()),
            "in flight": (house.metrics.request_counts.in_flight, house.server.budget.used_bytes),
            "histograms": _histogram_counts(house),
        }

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
        lines = await _taught(house)
        for line in lines:
            line.send(request(plain([ROW])))
        await settle()
        assert house.engine.sizes == [1, 1, 1]
        assert [line.answers()[0].status for line in lines] == [200, 200, 200]
        house.close()

    asyncio.run(ask())


def test_clients_whose_text_never_comes_again_cost_no_memory() -> None:
    async def ask(house: House) -> None:
        (line,) = await _taught(house, 1)
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


def _totals(house: House) -> dict[Any, int]:
    return dict(house.metrics.request_counts._totals)


def _histogram_counts(house: House) -> dict[str, float]:
    """How many values each histogram has."""
    return {
        f"{sample.name}{json.dumps(sample.labels, sort_keys=True)}": sample.value
        for family in house.metrics.request_counts.collect()
        for sample in family.samples
        if sample.name.endswith("_count")
        and sample.labels.get("stage") != "read"  # of what came in one piece there is none
    }
