"""Connections whose requests travel together: ids, order, pieces, and clients that leave."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from tests.unit.rt.convoys import ROW, House, plain, request, run, settle, taught, totals

pytestmark = pytest.mark.unit


def test_headers_say_the_same_as_on_the_usual_way() -> None:
    async def ask(house: House) -> None:
        usual = house.line()
        usual.send(request(plain([ROW]), "X-Priority: 0"))
        await settle()
        (line,) = await taught(house, 1)
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


def test_a_trace_goes_on() -> None:
    async def ask(house: House) -> None:
        (line,) = await taught(house, 1)
        for _ in range(3):
            line.send(request(plain([ROW]), "traceparent: 00-" + "1" * 32 + "-" + "2" * 16 + "-01"))
            await settle()
            assert "1" * 32 in line.answers()[0].headers["traceresponse"]

    run(ask)


@pytest.mark.parametrize("name", ["X-Request-Id", "X-Request-ID", "x-request-id"])
def test_ids_that_a_proxy_gives_are_kept(name: str) -> None:
    async def ask(house: House) -> None:
        lines = await taught(house)
        for turn in range(4):
            house.engine.sizes.clear()
            for number, line in enumerate(lines):
                line.send(request(plain([[float(number), 0.0, 0.0]]), f"{name}: id-{turn}-{number}"))
            await settle()
            for number, line in enumerate(lines):
                (answer,) = line.answers()
                assert answer.headers["x-request-id"] == f"id-{turn}-{number}"
                assert answer.body["outputs"][1]["data"] == [number]
        assert house.engine.sizes == [3]

    run(ask)


@pytest.mark.parametrize("odd", ["", " ", "a b", "x" * 200, "caf\u00e9", "a\tb"])
def test_ids_that_are_not_plain_are_treated_as_alone(odd: str) -> None:
    async def ask(together: bool) -> list[Any]:
        house = House(together=together)
        line = house.line()
        told = []
        for value in ("one", "two", "three", odd):
            line.send(request(plain([ROW]), f"X-Request-Id: {value}"))
            await settle()
            (answer,) = line.answers()
            told.append(answer.headers["x-request-id"] == value.strip())
        house.close()
        return told

    assert asyncio.run(ask(True)) == asyncio.run(ask(False))


def test_two_ids_in_one_head_are_no_known_head() -> None:
    async def ask(house: House) -> None:
        (line,) = await taught(house, 1)
        for number in range(4):
            line.send(request(plain([ROW]), f"X-Request-Id: a{number}", f"x-request-id: b{number}"))
            await settle()
            assert line.answers()[0].headers["x-request-id"] == f"b{number}"

    run(ask)


def test_pipelined_requests_are_answered_in_order() -> None:
    async def ask(house: House) -> None:
        (line,) = await taught(house, 1)
        first, second, third = (request(plain([[float(number), 0.0, 0.0]])) for number in (1, 2, 3))
        line.send(first)  # waits for its company
        line.send(second + third)
        await settle()
        assert [answer.body["outputs"][1]["data"] for answer in line.answers()] == [[1], [2], [3]]

    run(ask)


def test_a_request_in_pieces_is_answered() -> None:
    async def ask(house: House) -> None:
        (line,) = await taught(house, 1)
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
        lines = await taught(house)
        for line in lines:
            line.send(request(plain([ROW])))
        lines[1].connection.connection_lost(None)
        await settle()
        assert house.engine.sizes == [2]
        assert [len(line.answers()) for line in lines] == [1, 0, 1]
        assert totals(house)["v2", 499, "client_closed"] == 1
        assert house.server.budget.used_bytes == 0

    run(ask)


def test_a_client_that_ends_its_side_still_gets_its_answer() -> None:
    async def ask(house: House) -> None:
        (line,) = await taught(house, 1)
        line.send(request(plain([ROW])))
        assert line.connection.eof_received()
        await settle()
        assert b"HTTP/1.1 200" in line.wire.written

    run(ask)
