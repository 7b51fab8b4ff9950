"""What is refused before anyone looks at its content: always JSON, always a status of its own, always counted."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slipway_runtime.contract import LimitsConfig
from slipway_runtime.http.auth import ApiKeys
from slipway_runtime.http.rules import Rules
from slipway_runtime.protocol.errors import ApiError
from slipway_runtime.telemetry.record import RequestRecord
from tests.unit.rt.httploop import Client, HttpLoop, eventually, get, post

pytestmark = pytest.mark.unit

CHUNKED = b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def loop() -> Iterator[HttpLoop]:
    with HttpLoop() as loop:
        yield loop


@pytest.fixture
def client(loop: HttpLoop) -> Iterator[Client]:
    with loop.client() as client:
        yield client


def head(*lines: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"POST /echo HTTP/{version}", *lines]).encode("latin-1") + b"\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\nHost: test\n\n",
        b"GET /a b HTTP/1.1\r\nHost: test\r\n\r\n",
        b"GET / HTTP/3.0\r\nHost: test\r\n\r\n",
        b"GET /\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET //[ HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET nowhere HTTP/1.1\r\nHost: test\r\n\r\n",
        head(),
        head("Host: a", "Host: b"),
        head("Host: a/b"),
        head("Host: test", "Name : x"),
        head("Host: test", "Name: x", " folded"),
        head("Host: test", "Name: \0"),
        head("Host: test", ": x"),
        head("Host: test", "Content-Length: x"),
        head("Host: test", "Content-Length: -1"),
        head("Host: test", "Content-Length: +1"),
        head("Host: test", "Content-Length: 1, 1"),
        head("Host: test", "Content-Length: 1", "Content-Length: 1"),
        head("Host: test", "Content-Length: 99999999999999999999"),
        head("Host: test", "Content-Length: 5", "Transfer-Encoding: chunked"),
        head("Host: test", "Transfer-Encoding: chunked", "Content-Length: 5"),
        head("Host: test", "Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
        head("Host: test", "Transfer-Encoding: xchunked"),
        head("Host: test", "Transfer-Encoding: chunked", version="1.0"),
        CHUNKED + b"x\r\n",
        CHUNKED + b"-1\r\n",
        CHUNKED + b" 5\r\nhello\r\n",
        CHUNKED + b"5\nhello\r\n",
        CHUNKED + b"5\r\nhello!\r\n",
        CHUNKED + b"5\r\nhello\n0\r\n\r\n",
        CHUNKED + b"1" * 300,
        CHUNKED + b"10000000000000000\r\n",
        CHUNKED + b"0\r\nno header\r\n\r\n",
    ],
)
def test_refuses_what_is_no_http(client: Client, data: bytes) -> None:
    answer = client.send(data).answer()
    assert (answer.status, answer.code) == (400, "invalid_http")
    assert answer.headers["connection"] == "close"
    assert client.is_closed()


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (get("/" + "x" * 8200), 414, "uri_too_long"),
        (get("/" + "x" * 100_000), 414, "uri_too_long"),
        (get("/", "Name: " + "x" * 40_000), 431, "headers_too_large"),
        (get("/", *(f"X-{number}: y" for number in range(128))), 431, "headers_too_large"),
        (CHUNKED + b"0\r\nName: " + b"x" * 9000, 431, "headers_too_large"),
        (head("Host: test", "Transfer-Encoding: gzip, chunked"), 501, "not_supported"),
        (b"CONNECT there:443 HTTP/1.1\r\nHost: there\r\n\r\n", 405, "method_not_allowed"),
        (head("Host: test", "Content-Length: 1048577"), 413, "body_too_large"),
        (CHUNKED + b"100001\r\n", 413, "body_too_large"),
        (CHUNKED + b"80000\r\n" + bytes(0x80000) + b"\r\n80001\r\n", 413, "body_too_large"),
    ],
)
def test_refuses_what_is_too_much(loop: HttpLoop, client: Client, data: bytes, status: int, code: str) -> None:
    before = loop.server.counts.refusals[code]
    answer = client.send(data).answer()
    assert (answer.status, answer.code) == (status, code)
    assert client.is_closed()
    assert loop.server.counts.refusals[code] == before + 1
    assert loop.server.budget.used_bytes == 0


def test_takes_as_much_as_it_says(client: Client) -> None:
    assert client.post("/echo", bytes(1024 * 1024)).answer().status == 200
    assert client.send(get("/" + "x" * 8000)).answer().status == 200
    assert client.send(get("/", *(f"X-{number}: y" for number in range(127)))).answer().status == 200


def test_lets_a_client_that_still_sends_see_why_it_was_refused(client: Client) -> None:
    client.send(head("Host: test", "Content-Length: 33554432"))
    for _ in range(32):
        client.send(bytes(1024 * 1024))
    answer = client.answer()
    assert (answer.status, answer.code) == (413, "body_too_large")


def test_answers_what_came_before_a_bad_request_first(loop: HttpLoop, client: Client) -> None:
    client.send(post("/hold") + b"nonsense\r\n\r\n")
    loop.next_held().answer(b"good")
    assert client.answer().body == b"good"
    assert client.answer().code == "invalid_http"
    assert client.is_closed()


def test_refuses_a_request_that_ends_in_the_middle(loop: HttpLoop) -> None:
    for part in (post("/echo", b"hello")[:-1], post("/echo")[:-3], CHUNKED + b"5\r\nhel"):
        with loop.client() as client:
            assert client.send(part).end().answer().code == "invalid_http"
            assert client.is_closed()


def test_gives_no_headers_away_in_refusals_of_head(client: Client) -> None:
    answer = client.send(get("/", "Expect: much", method="HEAD")).answer(head_only=True)
    assert answer.status == 417
    assert client.is_closed()


@pytest.fixture(scope="module")
def hasty() -> Iterator[HttpLoop]:
    limits = LimitsConfig(header_timeout_seconds=1, max_connections=4)
    with HttpLoop(Rules("m", 1024 * 1024, 1, limits)) as loop:
        yield loop


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"POST /echo HTTP/1.1\r\nHost: t", "headers_too_slow"),
        (post("/echo", b"hello")[:-1], "body_too_slow"),
        (CHUNKED + b"5\r\nhel", "body_too_slow"),
        (post("/echo", bytes(500_000))[:-1], "body_too_slow"),
    ],
)
def test_does_not_wait_for_ever(hasty: HttpLoop, data: bytes, code: str) -> None:
    with hasty.client() as client:
        answer = client.send(data).answer()
        assert (answer.status, answer.code) == (408, code)
        assert answer.json["retryable"] is True
        assert client.is_closed()
    assert hasty.server.budget.used_bytes == 0


@pytest.mark.parametrize(
    ("first", "rest"),
    [
        (b"POST /echo HTTP/1.1\r\nHost: t", b"\r\nContent-Length: 2\r\n\r\nhi"),
        (post("/echo", b"hi")[:-1], b"i"),
        (post("/echo", b"before"), post("/echo", b"hi")),
    ],
    ids=["in the head", "in the body", "between requests"],
)
def test_does_not_blame_clients_for_the_time_in_which_it_was_held_up_itself(
    hasty: HttpLoop, monkeypatch: pytest.MonkeyPatch, first: bytes, rest: bytes
) -> None:
    monkeypatch.setattr("slipway_runtime.http.connection.KEEP_ALIVE_SECONDS", 1)
    with hasty.client() as client, hasty.client() as other:
        client.send(first)
        if first.endswith(b"before"):
            assert client.answer().body == b"before"
        time.sleep(0.3)  # it has seen the first part
        other.post("/block", b"1.5")
        time.sleep(0.2)  # and is busy now
        client.send(rest)
        answer = client.answer()
        assert (answer.status, answer.body) == (200, b"hi")


def test_is_patient_with_the_computation_itself(hasty: HttpLoop) -> None:
    with hasty.client() as client:
        client.post("/hold")
        held = hasty.next_held()
        assert client.is_silent(1.6)
        held.answer(b"late")
        assert client.answer().body == b"late"


def test_turns_away_connections_beyond_the_limit(hasty: HttpLoop) -> None:
    assert eventually(lambda: not hasty.server.connections)
    clients = [hasty.client() for _ in range(4)]
    assert all(client.post("/echo", b"in").answer().body == b"in" for client in clients)
    with hasty.client() as beyond:
        answer = beyond.post("/echo", b"out").answer()
        assert (answer.status, answer.code) == (503, "too_many_connections")
        assert int(answer.headers["retry-after"]) >= 1
    clients.pop().close()
    assert eventually(lambda: len(hasty.server.connections) == 3)
    with hasty.client() as again:
        assert again.post("/echo", b"in").answer().body == b"in"
    for client in clients:
        client.close()


@pytest.mark.feature("bytes-admission")
def test_bounds_the_bytes_of_all_bodies_together() -> None:
    limits = LimitsConfig(max_inflight_bytes=1000)
    with HttpLoop(Rules("m", 5000, 30, limits)) as loop, loop.client() as first, loop.client() as second:
        first.post("/hold", bytes(900))
        held = loop.next_held()
        answer = second.post("/echo", bytes(101)).answer()
        assert (answer.status, answer.code) == (429, "bytes_budget")
        assert answer.headers["retry-after"] in ("1", "2")
        with loop.client() as small:
            assert small.post("/echo", bytes(100)).answer().status == 200
        with loop.client() as growing:
            growing.send(CHUNKED + b"64\r\n" + bytes(100) + b"\r\n1\r\n")
            assert growing.answer().code == "bytes_budget"
        held.answer()
        assert first.answer().status == 200
        assert first.post("/echo", bytes(5000)).answer().status == 200, "alone it always fits"
        assert loop.server.budget.used_bytes == 0


def test_counts_what_grows_out_of_a_request() -> None:
    limits = LimitsConfig(max_inflight_bytes=1000)
    with HttpLoop(Rules("m", 5000, 30, limits)) as loop, loop.client() as client:
        assert client.post("/inflate", b"900").answer().body == b"charged"
        answer = client.post("/inflate", b"998").answer()
        assert (answer.status, answer.code) == (429, "bytes_budget")
        assert loop.server.budget.used_bytes == 0


def test_gives_back_what_a_client_that_left_had_taken() -> None:
    limits = LimitsConfig(max_inflight_bytes=1000)
    with HttpLoop(Rules("m", 5000, 30, limits)) as loop:
        with loop.client() as client:
            client.post("/hold", bytes(900))
            loop.next_held()
            client.send(post("/echo", bytes(50))[:-1])
            assert eventually(lambda: loop.server.budget.used_bytes == 950)
        assert eventually(lambda: loop.server.budget.used_bytes == 0)


@pytest.mark.feature("auth")
def test_asks_for_a_key_before_it_reads_the_body(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("right\n")
    seen: list[RequestRecord] = []
    rules = Rules("m", 1024 * 1024, 30, open_paths=frozenset({b"/v2/health/live"}))
    with HttpLoop(rules, keys=ApiKeys(tmp_path / "keys"), observe=seen.append) as loop:
        for headers in ((), ("X-API-Key: wrong",), ("Authorization: Basic cmlnaHQ=",)):
            with loop.client() as client:
                answer = client.send(post("/echo", bytes(1000), *headers)[:-999]).answer()
                assert (answer.status, answer.code) == (401, "unauthenticated")
                assert answer.headers["www-authenticate"].startswith("Bearer")
        with loop.client() as client:
            assert client.send(get("/v2/models/m")).answer().status == 401
        with loop.client() as client:
            for headers in (("X-API-Key: right",), ("Authorization: Bearer right",)):
                assert client.post("/echo", b"in", *headers).answer().body == b"in"
                assert client.send(get("/v2/models/m", *headers)).answer().status == 200
            assert client.send(get("/v2/health/live")).answer().status == 200
            assert client.send(get("/v2/health/%6cive")).answer().status == 401
    assert [(record.status, record.code, record.path) for record in seen][:4] == [
        (401, "unauthenticated", "/echo"),
        (401, "unauthenticated", "/echo"),
        (401, "unauthenticated", "/echo"),
        (401, "unauthenticated", "/v2/models/m"),
    ]


def test_refuses_by_the_head_when_it_is_told_to() -> None:
    error = ApiError(503, "loading", "Not yet.", headers={"Retry-After": "5"})
    with HttpLoop(screen=lambda head: error) as loop, loop.client() as client:
        answer = client.send(head("Host: test", "Content-Length: 1000")).answer()
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "loading", "5")


SEEDS = (
    post("/echo", b"hello", "Accept: */*"),
    CHUNKED + b"5;a=b\r\nhello\r\n0\r\nTrailer: x\r\n\r\n",
    get("/asgi?x=1", "Connection: keep-alive"),
    post("/echo", bytes(70_000), "Expect: 100-continue"),
    get("/stream", version="1.0"),
    post("/echo") * 5,
)
TOKENS = (b"\r\n", b"\r\n\r\n", b"\n", b"\0", b" ", b":", b"HTTP/1.1", b"0", b"-1", b"\xff", b"Content-Length: 7\r\n")


def mutate(rng: random.Random, data: bytes) -> bytes:
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data) + 1)
        to = min(len(data), at + rng.choice((0, 1, 1, 2, 9)))
        data = (
            data[:at] + rng.choice((b"", bytes([rng.randrange(256)]), rng.choice(TOKENS), data[at:to] * 2)) + data[to:]
        )
    return data


@pytest.mark.parametrize("seed", range(8))
def test_survives_whatever_is_sent(loop: HttpLoop, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """Every connection gets answers of HTTP or a clean end, and the next client is served."""
    caplog.set_level(logging.WARNING)
    rng = random.Random(seed)
    for _ in range(60):
        data = b"".join(mutate(rng, rng.choice(SEEDS)) for _ in range(rng.randint(1, 3)))
        cut = rng.randrange(len(data) + 1)
        with loop.client() as client:
            try:
                client.send(data[:cut], data[cut:]).end()
                rest = client.rest()
            except OSError:  # it was refused, or had asked for the end, and went on sending
                continue
            assert not rest or rest.startswith(b"HTTP/1.1 "), rest[:100]
    with loop.client() as client:
        assert client.post("/echo", b"alive").answer().body == b"alive"
    assert not caplog.records
    assert eventually(lambda: loop.server.budget.used_bytes == 0)
