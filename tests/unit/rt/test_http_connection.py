"""HTTP/1.1 over raw sockets: what a client may do, and what it gets."""

from __future__ import annotations

import logging
import socket
import struct
import time
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from slipway_runtime.http.counts import HttpCounts
from slipway_runtime.http.rules import Rules
from slipway_runtime.telemetry.record import RequestRecord
from tests.unit.rt.httploop import Client, HttpLoop, eventually, get, post

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def loop() -> Iterator[HttpLoop]:
    with HttpLoop() as loop:
        yield loop


@pytest.fixture
def client(loop: HttpLoop) -> Iterator[Client]:
    with loop.client() as client:
        yield client


def test_answers_one_request_after_another_on_one_connection(client: Client) -> None:
    for body in (b"a", b"bc", b"", b"x" * 100_000):
        answer = client.post("/echo", body).answer()
        assert (answer.status, answer.body) == (200, body)
        assert "connection" not in answer.headers


def test_tells_its_date_and_a_fresh_request_id(client: Client) -> None:
    first, second = client.post("/echo").answer(), client.post("/echo").answer()
    assert first.headers["date"].endswith(" GMT")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


@pytest.mark.parametrize(("given", "kept"), [("abc-1", True), ("x" * 129, False), ("caf\xe9", False)])
def test_keeps_the_clients_request_id_when_it_is_harmless(client: Client, given: str, kept: bool) -> None:
    answer = client.post("/echo", b"", f"X-Request-Id: {given}").answer()
    assert (answer.headers["x-request-id"] == given) is kept


def test_does_not_mix_up_heads_that_begin_the_same(client: Client) -> None:
    for request_id in ("a", "a", "ab", "a"):
        assert client.post("/echo", b"1", f"X-Request-Id: {request_id}").answer().headers["x-request-id"] == request_id


def test_what_waits_behind_others_that_could_be_read_as_well_came_with_them(loop: HttpLoop, client: Client) -> None:
    """Or a burst would cost requests tens of milliseconds that nobody counts."""
    with loop.client() as slow, loop.client() as first:
        for one in (slow, first, client):
            one.post("/echo").answer()
        slow.post("/block", b"0.3")
        time.sleep(0.1)  # the loop is held up by now
        first.post("/block", b"0.3")
        time.sleep(0.05)
        client.post("/hold")
        held = loop.next_held()
        assert time.perf_counter() - held.request.received_at >= 0.3
        held.answer()
        assert client.answer().body == b"held"
    began = time.perf_counter()
    client.post("/hold")
    later = loop.next_held()
    later.answer()
    assert later.request.received_at >= began, "the next turn has its own time"
    assert client.answer().body == b"held"


def test_reads_requests_byte_by_byte(client: Client) -> None:
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in post("/echo", b"slowly", "X-Request-Id: me"):
        client.send(bytes([byte]))
    answer = client.answer()
    assert (answer.body, answer.headers["x-request-id"]) == (b"slowly", "me")


def test_answers_pipelined_requests_in_their_order_whichever_is_ready_first(loop: HttpLoop, client: Client) -> None:
    client.send(post("/hold") + post("/echo", b"2") + post("/hold") + get("/asgi") + post("/echo", b"5"))
    first, third = loop.next_held(), loop.next_held()
    third.answer(b"3")
    assert client.is_silent()
    first.answer(b"1")
    assert [client.answer().body for _ in range(3)] == [b"1", b"2", b"3"]
    assert client.answer().json["path"] == "/asgi"
    assert client.answer().body == b"5"


def test_answers_more_pipelined_requests_than_it_takes_at_once(client: Client) -> None:
    count = 200
    client.send(b"".join(post("/echo", str(number).encode()) for number in range(count)))
    assert [client.answer().body for _ in range(count)] == [str(number).encode() for number in range(count)]


def test_bounds_what_one_connection_has_in_flight(loop: HttpLoop, client: Client) -> None:
    client.send(post("/hold") * 40)
    held = [loop.next_held() for _ in range(16)]
    assert loop.held.empty()
    for one in held:
        one.answer()
    for _ in range(24):
        loop.next_held().answer()
    assert [client.answer().status for _ in range(40)] == [200] * 40


def test_reads_bodies_in_chunks(client: Client) -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"5;name=value\r\nhello\r\n1\r\n \r\nA\r\n0123456789\r\n0\r\nTrailer: dropped\r\n\r\n"
    for pieces in ([head + body], [head, body], [head, *(body[i : i + 1] for i in range(len(body)))]):
        assert client.send(*pieces, post("/echo", b"next")).answer().body == b"hello 0123456789"
        assert client.answer().body == b"next"


def test_reads_large_bodies_whole(loop: HttpLoop, client: Client) -> None:
    body = bytes(range(256)) * 4096
    assert client.post("/echo", body).answer().body == body
    assert client.send(post("/echo", body) + post("/echo", b"after")).answer().body == body
    assert client.answer().body == b"after"
    assert loop.server.budget.used_bytes == 0


def test_asks_for_the_body_once_the_headers_are_accepted(client: Client) -> None:
    whole = post("/echo", b"hello", "Expect: 100-continue")
    client.send(whole[:-5])
    assert client.interim() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert client.send(b"hello").answer().body == b"hello"


def test_asks_for_no_body_that_is_here_or_that_it_refuses(client: Client) -> None:
    client.send(post("/echo", b"hello", "Expect: 100-continue"))
    assert client.interim().startswith(b"HTTP/1.1 200")
    with Client(client.socket.getpeername()[1]) as other:
        other.send(b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 2000000\r\nExpect: 100-continue\r\n\r\n")
        assert other.interim().startswith(b"HTTP/1.1 413")


def test_asks_for_a_pipelined_body_only_after_the_answers_before_it(loop: HttpLoop, client: Client) -> None:
    client.send(post("/hold"), post("/echo", b"hello", "Expect: 100-continue")[:-5])
    held = loop.next_held()
    assert client.is_silent()
    held.answer(b"first")
    assert client.answer().body == b"first"
    assert client.interim().startswith(b"HTTP/1.1 100")
    assert client.send(b"hello").answer().body == b"hello"


def test_refuses_other_expectations(client: Client) -> None:
    answer = client.post("/echo", b"", "Expect: a-miracle").answer()
    assert (answer.status, answer.code) == (417, "expectation_failed")


def test_answers_head_without_a_body(client: Client) -> None:
    answer = client.send(get("/asgi", method="HEAD")).answer(head_only=True)
    assert int(answer.headers["content-length"]) > 10
    assert client.post("/echo", b"next").answer().body == b"next"
    answer = client.send(get("/boom", method="HEAD")).answer(head_only=True)
    assert answer.status == 500
    assert client.post("/echo", b"next").answer().body == b"next"


def test_closes_for_http_1_0_unless_it_asks_to_stay(loop: HttpLoop, client: Client) -> None:
    old = b"POST /echo HTTP/1.0\r\nContent-Length: 1\r\n"
    answer = client.send(old + b"Connection: keep-alive\r\n\r\n1").answer()
    assert (answer.body, answer.headers["connection"]) == (b"1", "keep-alive")
    answer = client.send(old + b"\r\n2").answer()
    assert (answer.body, answer.headers["connection"]) == (b"2", "close")
    assert client.is_closed()
    with loop.client() as other:
        answer = other.send(get("/stream", version="1.0")).answer()
        assert (answer.body, "transfer-encoding" in answer.headers) == (b"one two three", False)


def test_closes_when_the_client_asks_for_it(client: Client) -> None:
    answer = client.send(post("/echo", b"1", "Connection: close") + post("/echo", b"2")).answer()
    assert (answer.body, answer.headers["connection"]) == (b"1", "close")
    assert client.is_closed()


def test_answers_a_client_that_ended_its_side(loop: HttpLoop, client: Client) -> None:
    client.post("/hold").end()
    loop.next_held().answer(b"still here")
    assert client.answer().body == b"still here"
    assert client.is_closed()


def test_tells_at_once_that_a_client_left(loop: HttpLoop) -> None:
    with loop.client() as client:
        client.post("/hold")
        held = loop.next_held()
    assert held.left.wait(2)
    held.answer()


def test_tells_every_pipelined_request_that_the_client_left(loop: HttpLoop) -> None:
    with loop.client() as client:
        client.send(post("/hold") * 3)
        held = [loop.next_held() for _ in range(3)]
    assert all(one.left.wait(2) for one in held)


def test_tells_that_a_client_reset_the_connection(loop: HttpLoop) -> None:
    client = loop.client()
    client.post("/hold")
    held = loop.next_held()
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    assert held.left.wait(2)


def test_tells_an_asgi_application_that_its_client_left(loop: HttpLoop) -> None:
    loop.gone.clear()
    with loop.client() as client:
        client.send(get("/wait"))
        assert client.is_silent()
    assert loop.gone.wait(2)


def test_streams_what_an_application_sends_in_parts(client: Client) -> None:
    answer = client.send(get("/stream")).answer()
    assert (answer.headers["transfer-encoding"], answer.body) == ("chunked", b"one two three")
    assert client.post("/echo", b"next").answer().body == b"next"


@pytest.mark.parametrize("request_bytes", [get("/boom"), post("/fail")])
def test_answers_500_in_json_for_a_fault_of_its_own(
    client: Client, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    answer = client.send(request_bytes).answer()
    assert (answer.status, answer.code) == (500, "internal")
    assert "boom" not in answer.json["error"]
    assert client.post("/echo", b"next").answer().body == b"next"


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/a%2Fb?x=1", "/a/b", "x=1"),
        ("http://other/a?b", "/a", "b"),
        ("http://other", "/", ""),
        ("*", "*", ""),
        ("/caf%C3%A9", "/café", ""),
    ],
)
def test_understands_every_form_of_target(client: Client, target: str, path: str, query: str) -> None:
    seen = client.send(get(target, method="OPTIONS")).answer().json
    assert (seen["path"], seen["query"]) == (path, query)


@pytest.mark.parametrize("headers", [("Upgrade: websocket",), ("Upgrade: h2c", "HTTP2-Settings: AAMAAABk")])
def test_answers_an_offer_to_upgrade_in_http_1_1(client: Client, headers: tuple[str, ...]) -> None:
    answer = client.post("/echo", b"hello", "Connection: Upgrade", *headers).answer()
    assert (answer.status, answer.body) == (200, b"hello")
    assert client.post("/echo", b"next").answer().body == b"next"


def test_sends_other_methods_and_encoded_paths_to_the_application(client: Client) -> None:
    assert client.send(get("/echo", method="PUT")).answer().json["method"] == "PUT"
    assert client.post("/%65cho", b"abc").answer().json["body"] == 3


def test_stops_answering_a_client_that_does_not_read(loop: HttpLoop, client: Client) -> None:
    size, count = 1024 * 1024, 30
    before = loop.server.counts.requests
    client.send(post("/size", str(size).encode()) * count)
    with loop.client() as other:
        for _ in range(20):
            other.post("/echo", b"meanwhile").answer()
    assert loop.server.counts.requests - before - 20 < 16
    assert [len(client.answer().body) for _ in range(count)] == [size] * count


def test_gives_up_a_client_that_never_reads() -> None:
    with HttpLoop(Rules("m", 1024 * 1024, 1)) as loop, loop.client() as client:
        client.post("/size", str(64 * 1024 * 1024).encode())
        assert eventually(lambda: loop.server.counts.refusals["reader_too_slow"] == 1)
        assert eventually(lambda: not loop.server.connections)


@pytest.mark.parametrize("reset", [True, False])
def test_tells_of_a_client_that_left_before_its_request_was_whole(reset: bool) -> None:
    told: list[RequestRecord] = []
    with HttpLoop(observe=told.append) as loop:
        with loop.client() as client:
            client.send(b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nhell")
            assert eventually(lambda: any(connection.busy for connection in loop.server.connections))
            if reset:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert eventually(lambda: not loop.server.connections)
    (record,) = told
    assert (record.left_in, record.path) == ("read", "/echo")
    assert (record.status, record.code) == ((499, "client_closed") if reset else (400, "invalid_http"))


def test_counts_the_answers_that_their_client_did_not_wait_for_to_the_end() -> None:
    with HttpLoop() as loop:
        for _ in range(2):
            with loop.client() as client:
                client.post("/size", str(64 * 1024 * 1024).encode())
                client.socket.recv(10)
        with loop.client() as client:
            client.post("/hold").post("/echo", b"ready behind it")
            held = loop.next_held()
            assert eventually(lambda: loop.server.counts.requests == 4)
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert held.left.wait(10)
        with loop.client() as client:
            assert client.post("/echo", b"hello").answer().status == 200
        assert eventually(lambda: not loop.server.connections)
        assert loop.server.counts.departures == {"write": 3}


def test_counts_what_it_does() -> None:
    with HttpLoop(counts=HttpCounts()) as loop:
        with loop.client() as client:
            client.post("/echo", b"hello").answer()
            client.send(b"nonsense\r\n\r\n").answer()
            registry = CollectorRegistry()
            registry.register(loop.server.counts)
            text = generate_latest(registry).decode()
        for line in (
            "slipway_runtime_http_connections 1.0",
            "slipway_runtime_http_connections_accepted_total 1.0",
            'slipway_runtime_http_refusals_total{reason="invalid_http"} 1.0',
            "slipway_runtime_http_received_bytes_total 5.0",
            "slipway_runtime_inflight_bytes 0.0",
        ):
            assert line in text.splitlines()
        assert eventually(lambda: loop.server.counts.closed == 1)


@pytest.mark.feature("drain-inflight")
def test_finishes_what_it_has_and_closes_idle_connections() -> None:
    with HttpLoop() as loop, loop.client() as idle, loop.client() as busy:
        idle.post("/echo").answer()
        busy.post("/hold")
        held = loop.next_held()
        loop.call(loop.server.drain)
        with loop.client() as fresh:
            assert fresh.post("/echo").answer().headers["connection"] == "close"
            assert fresh.is_closed()
        loop.call(loop.server.finish)
        assert idle.is_closed()
        with pytest.raises(ConnectionRefusedError):
            loop.client()
        held.answer(b"done")
        answer = busy.answer()
        assert (answer.body, answer.headers["connection"]) == (b"done", "close")
        assert loop.has_ended()


def test_answers_every_pipelined_request_of_a_drained_connection() -> None:
    with HttpLoop() as loop, loop.client() as client:
        loop.call(loop.server.drain)
        client.send(post("/echo", b"1") + post("/echo", b"2") + post("/echo", b"3"))
        answers = [client.answer() for _ in range(3)]
        assert [answer.body for answer in answers] == [b"1", b"2", b"3"]
        assert ["connection" in answer.headers for answer in answers] == [False, False, True]


def test_says_why_when_it_is_cut_short() -> None:
    with HttpLoop() as loop, loop.client() as one, loop.client() as other:
        one.post("/hold")
        held = loop.next_held()
        other.send(get("/wait"))
        assert eventually(lambda: loop.server.counts.requests == 2)
        loop.call(loop.server.cut)
        for client in (one, other):
            answer = client.answer()
            assert (answer.status, answer.code) == (503, "draining")
            assert client.is_closed()
        assert held.left.wait(2)
        assert loop.has_ended()
