"""The judge of the mixed load: it would see what it is there to see."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from tests.soak.clients import WrongAnswerError, judge, judge_error
from tests.soak.mutator import mutate
from tests.soak.questions import make_question, predict_json
from tests.soak.soak import Report
from tests.soak.timeline import Event, logged
from tests.soak.verdict import Tally
from tests.soak.wire import Answer, Server

pytestmark = pytest.mark.unit

CHANCE = random.Random(1)
MINE, OTHER = (make_question(number, CHANCE, rows=2, width=3) for number in (1, 2))
ERROR = {"error": "The queue is full.", "code": "queue_full", "request_id": "r", "model": "soak", "retryable": True}


def answer(values: object, request_id: str = MINE.request_id) -> Answer:
    return Answer(200, {"x-request-id": request_id}, json.dumps({"outputs": {"y": values}}).encode())


def refusal(status: int = 429, **headers: str) -> Answer:
    given = {"x-request-id": "r", "retry-after": "1"} | {key.replace("_", "-"): value for key, value in headers.items()}
    return Answer(status, given, json.dumps(ERROR).encode())


def test_the_clients_own_values_pass() -> None:
    assert judge(MINE, predict_json(MINE), answer(MINE.expected.tolist())) == "200"


@pytest.mark.parametrize(
    "wrong",
    [
        answer(OTHER.expected.tolist()),
        answer(MINE.expected[::-1].tolist()),
        answer(MINE.expected[:1].tolist()),
        answer(MINE.expected.tolist(), OTHER.request_id),
        Answer(200, {"x-request-id": MINE.request_id}, b'{"outputs": {"y": [[1'),
    ],
    ids=["another's values", "rows in another order", "a row missing", "another's id", "cut off"],
)
def test_any_other_answer_is_wrong(wrong: Answer) -> None:
    with pytest.raises(WrongAnswerError):
        judge(MINE, predict_json(MINE), wrong)


def test_an_error_is_its_status_and_code() -> None:
    assert judge_error(refusal(), "r") == "429 queue_full"


@pytest.mark.parametrize(
    "wrong",
    [
        refusal(retry_after=""),
        refusal(x_request_id="s"),
        Answer(500, {"x-request-id": "r"}, b"Traceback"),
        Answer(500, {"x-request-id": "r"}, json.dumps({**ERROR, "error": "Traceback (most recent"}).encode()),
    ],
    ids=["no Retry-After", "another id", "no JSON", "a traceback"],
)
def test_an_incomplete_error_is_wrong(wrong: Answer) -> None:
    with pytest.raises(WrongAnswerError):
        judge_error(wrong, "r")


def test_a_status_that_a_client_may_not_get_fails_the_run_and_tells_how_to_repeat_it() -> None:
    tally = Tally(lambda: 1000.0)
    tally.add("honest V1", "429 queue_full")
    report = Report(seed=7, seconds=20, tally=tally, begun=990.0)
    assert report.passed
    tally.add("honest V1", "500 internal", "note")
    assert not report.passed
    assert "honest V1: 500 internal is none that it may get. note" in report.text()
    assert "--seconds 20 --seed 7" in report.text()


def test_violations_are_told_with_their_time_and_what_happened_then() -> None:
    clock = [1000.0]
    tally = Tally(lambda: clock[0])
    for clock[0] in (1000.0, 1000.5, 1030.25):
        for _ in range(20):
            tally.blame("gone")
    log = [
        {"time": "1970-01-01T00:16:39.500Z", "level": "WARNING", "message": "a worker ended"},
        {"time": "1970-01-01T00:16:40.100Z", "level": "INFO", "message": "POST /predict 504", "status": 504},
        {"time": "1970-01-01T00:16:40.200Z", "level": "INFO", "message": "POST /predict 500", "status": 500},
    ]
    events = [Event(1029.0, "fault", "killed: [7]"), Event(1015.0, "fault", "killed: [8]"), *logged(log)]
    text = Report(seed=7, seconds=60, tally=tally, begun=990.0, events=events).text()
    assert "60 violations: 40 at 00:16:40, 20 at 00:17:10." in text
    told = [line for line in text.splitlines() if " s  " in line]
    assert told[0] == "00:16:39.500    +9.5 s  gateway: WARNING a worker ended"
    assert [line.partition(" s  ")[2] for line in told[1:]] == [
        *["violation: gone"] * 5,
        "gateway: INFO POST /predict 500",
        "fault: killed: [7]",
        *["violation: gone"] * 5,
    ]


def test_a_connection_that_was_idle_for_long_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may close it at any moment from then on, and what a client then sends is lost."""
    opened = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        while await reader.readline():
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def ask() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
            server = Server(*listening.sockets[0].getsockname())
            await asyncio.gather(*(server.ask(b"?\n") for _ in range(3)))
            await server.ask(b"?\n")
            assert len(opened) == 3
            monkeypatch.setattr("tests.soak.wire._KEEP_SECONDS", 0)
            await server.ask(b"?\n")
            assert len(opened) == 4
            await server.close()

    asyncio.run(ask())


def test_the_same_seed_breaks_the_same_way() -> None:
    data = bytes(range(200))
    broken = [[mutate(data, random.Random(seed)) for seed in range(50)] for _ in range(2)]
    assert broken[0] == broken[1]
    assert len(set(broken[0])) > 40
