"""Bodies of many kilobytes: read right in whatever pieces they come, and held no longer than they are needed."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from slipway_runtime.http.exchange import Request
from slipway_runtime.http.line import PendingReply
from slipway_runtime.protocol import fastjson
from slipway_runtime.protocol.fastjson import read_document
from tests.unit.rt.convoys import PATH, WIDTH, House, Line, plain, request, run, settle

pytestmark = pytest.mark.unit

READS = st.sampled_from([1 << 18, 100_000, 70_000, 65_536, 9_000, 8_192, 700])


def rows_of(count: int, first: float) -> list[list[float]]:
    return (np.arange(count * WIDTH, dtype=np.float64).reshape(count, WIDTH) / 7 + first).tolist()


def whole(rows: list[list[float]]) -> bytes:
    return request(plain(rows))


def chunked(rows: list[list[float]]) -> bytes:
    body = plain(rows)
    parts = [body[start : start + 50_000] for start in range(0, len(body), 50_000)]
    head = f"POST {PATH} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [*parts, b""])


def deliver(line: Line, stream: bytes, reads: list[int]) -> None:
    """As a loop does, which never reads more than it was given room for."""
    turn = 0
    while stream:
        place = line.connection.get_buffer(-1)
        size = min(len(place), len(stream), reads[turn % len(reads)])
        place[:size], stream = stream[:size], stream[size:]
        line.connection.buffer_updated(size)
        turn += 1


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 900, 2600, 9000]), st.sampled_from([whole, chunked])), max_size=6),
    st.lists(READS, min_size=1, max_size=4),
    st.booleans(),
)
@example([(9000, whole), (1, whole), (2600, chunked), (9000, whole)], [1 << 18], False)
@example([(900, whole)] * 16, [1 << 18], True)
def test_requests_are_the_same_in_whatever_pieces_they_come(
    sent: list[tuple[int, Callable[[list[list[float]]], bytes]]], reads: list[int], draining: bool
) -> None:
    async def ask(house: House) -> None:
        house.server.rules = replace(house.server.rules, max_request_bytes=1 << 20)
        house.server.draining = draining
        line = house.line()
        stream, expected = b"", []
        for number, (count, framed) in enumerate(sent):
            rows = rows_of(count, number)
            stream += framed(rows)
            expected.append(np.asarray(rows, np.float32).sum(axis=1, dtype=np.float64).tolist())
        deliver(line, stream, reads)
        await settle()
        answers = line.answers()
        assert [answer.status for answer in answers] == [200] * len(sent)
        assert [answer.body["outputs"][1]["data"] for answer in answers] == expected
        assert ["connection" in answer.headers for answer in answers[:-1]] == [False] * (len(sent) - 1)
        assert house.server.budget.used_bytes == 0

    run(ask)


def test_a_long_burst_is_left_where_it_is_while_the_line_is_full() -> None:
    async def ask(house: House) -> None:
        line = house.line()
        stream = b"".join(whole(rows_of(150, number)) for number in range(40))
        assert len(stream) > 1 << 17
        deliver(line, stream[: 1 << 17], [1 << 17])
        assert len(line.connection._line.waiting) == 16
        while len(line.connection._line.waiting):
            await settle()
        deliver(line, stream[1 << 17 :], [1 << 18])
        for _ in range(10):
            await settle()
        answers = line.answers()
        firsts = [answer.body["outputs"][0]["data"][0] for answer in answers]
        assert firsts == [2.0 * number + 1 for number in range(40)]

    run(ask)


@pytest.mark.parametrize("binary", [False, True])
def test_a_body_is_held_only_while_the_inputs_lie_in_it(binary: bool) -> None:
    async def ask(house: House) -> None:
        rows, headers = rows_of(5, 1), {}
        body = plain(rows)
        if binary:
            tensor = {"name": "x", "shape": [5, WIDTH], "datatype": "FP32", "parameters": {"binary_data_size": 60}}
            head = json.dumps({"inputs": [tensor]}).encode()
            body = head + np.asarray(rows, np.float32).tobytes()
            headers = {b"inference-header-content-length": str(len(head)).encode()}
        memory = np.frombuffer(body, np.uint8).copy()
        held = weakref.ref(memory)
        line = house.line()
        reply = PendingReply(line.connection._line, "id")
        line.connection._line.add(reply)
        now = perf_counter()
        house.opened.routes[PATH.encode()](
            Request(b"POST", PATH.encode(), b"", headers, memory.data, now, now, "127.0.0.1", "id"), reply
        )
        del memory
        assert (held() is not None) is binary, "while it waits for its batch"
        await settle()
        (answer,) = line.answers()
        assert answer.status == 200
        assert held() is None

    run(ask)


def test_a_request_whose_beginning_came_with_a_long_body_is_answered_though_a_drain_begins() -> None:
    async def ask(house: House) -> None:
        house.server.rules = replace(house.server.rules, max_request_bytes=1 << 20)
        line = house.line()
        first, second = whole(rows_of(3000, 0)), whole(rows_of(900, 1))
        assert 1 << 16 < len(first) < (1 << 18) - 20_000
        deliver(line, first + second[:20_000], [1 << 18])
        house.server.draining = True
        await settle()
        deliver(line, second[20_000:], [1 << 18])
        await settle()
        answers = line.answers()
        assert [answer.body["outputs"][0]["data"][0] for answer in answers] == [1.0, 3.0]
        assert ["connection" in answer.headers for answer in answers] == [False, True]

    run(ask)


def test_what_is_kept_to_read_with_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []
    monkeypatch.setattr(fastjson, "_free", kept)
    for count in (10, 3_000, 200, 30_000):
        assert read_document(b"[%b]" % b",".join([b"1.5"] * count), lambda document, brackets: brackets) == 1
        assert len(kept) == 1
    wide = b"[%b]" % b",".join([b"1.5"] * (fastjson._KEPT_BYTES // 4 + 1))
    assert read_document(wide, lambda document, brackets: brackets) == 1
    assert not kept
