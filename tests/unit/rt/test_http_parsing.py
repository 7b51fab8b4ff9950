"""Heads, chunks and budgets by themselves: what is decided does not depend on how the bytes were cut."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_runtime.contract import LimitsConfig, RuntimeConfig
from slipway_runtime.http.budget import ByteBudget, memory_limit_bytes
from slipway_runtime.http.chunked import ChunkedBody
from slipway_runtime.http.files import make_room
from slipway_runtime.http.head import Head, HeadReader, check_expectation
from slipway_runtime.http.rules import Rules
from slipway_runtime.http.wire import choose_request_id, header
from slipway_runtime.protocol.errors import ApiError

pytestmark = pytest.mark.unit

HEAD = (
    b"\r\n\r\nPOST /a/b?c=d&e HTTP/1.1\r\nHost: test:80\r\nAccept: a\r\naccept: b\r\nX-Empty:\r\n"
    b"Content-Length: 12\r\n\r\n"
)


def read(pieces: list[bytes], limits: LimitsConfig | None = None) -> tuple[Head, bytes]:
    """The head, and what follows it."""
    reader = HeadReader(limits or LimitsConfig())
    for number, piece in enumerate(pieces):
        stop = reader.feed(piece)
        if stop is not None:
            assert reader.head is not None
            return reader.head, piece[stop:] + b"".join(pieces[number + 1 :])
    raise AssertionError("the head is not complete")


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places})
    return [data[begin:end] for begin, end in zip([0, *ends], [*ends, len(data)], strict=True)]


def outcome(pieces: list[bytes]) -> tuple[object, ...]:
    try:
        head, rest = read(pieces)
    except ApiError as error:
        return error.status, error.code
    return head.method, head.path, head.query, head.headers, head.length_bytes, head.keep_alive, rest


def test_a_header_of_one_value_is_not_taken_from_two() -> None:
    def head(*lines: bytes) -> tuple[object, ...]:
        return outcome([b"\r\n".join((b"POST / HTTP/1.1", b"Host: a", *lines, b"", b""))])

    refused = (400, "invalid_http")
    assert head(b"Inference-Header-Content-Length: 2", b"inference-header-content-length: 3") == refused
    assert head(b"Content-Type: image/png", b"Accept: a", b"Content-Type: application/json") == refused
    assert head(b"Authorization: Bearer a", b"Authorization: Bearer b") == refused
    assert head(b"Content-Encoding: gzip", b"Content-Encoding: gzip") == refused
    assert head(b"Content-Type: image/png", b"Content-Type: image/png")[0] == b"POST"
    assert head(b"Accept: a", b"Accept: b")[0] == b"POST"


@given(st.lists(st.integers(0, 1000), max_size=12))
def test_a_head_is_the_same_however_it_arrives(places: list[int]) -> None:
    head, rest = read(cut(HEAD + b"hello\r\n\r\nmore", places))
    assert (head.method, head.path, head.query, head.length_bytes) == (b"POST", b"/a/b", b"c=d&e", 12)
    assert (head.headers[b"accept"], head.headers[b"x-empty"], len(head.fields)) == (b"b", b"", 5)
    assert rest == b"hello\r\n\r\nmore"


@given(st.lists(st.tuples(st.integers(0, 130), st.binary(max_size=3)), max_size=4), st.lists(st.integers(0, 200)))
def test_a_damaged_head_is_refused_or_read_the_same_however_it_arrives(
    damages: list[tuple[int, bytes]], places: list[int]
) -> None:
    data = bytearray(HEAD)
    for place, piece in damages:
        data[place : place + 1] = piece
    data += b"\r\n\r\n"
    whole, pieces = outcome_or_none(bytes(data), []), outcome_or_none(bytes(data), places)
    assert whole == pieces


def outcome_or_none(data: bytes, places: list[int]) -> tuple[object, ...] | None:
    try:
        return outcome(cut(data, places))
    except AssertionError:
        return None


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [
        ("1.1", None, True),
        ("1.1", "close", False),
        ("1.1", "Keep-Alive, CLOSE", False),
        ("1.1", "closed", True),
        ("1.0", None, False),
        ("1.0", "keep-alive", True),
        ("1.0", "Keep-Alive, Upgrade", True),
    ],
)
def test_connections_stay_as_version_and_header_say(version: str, connection: str | None, kept: bool) -> None:
    line = f"Connection: {connection}\r\n" if connection else ""
    head, _ = read([f"GET / HTTP/{version}\r\nHost: a\r\n{line}\r\n".encode()])
    assert head.keep_alive is kept


@pytest.mark.parametrize(
    ("line", "waits"), [("", False), ("Expect: 100-continue\r\n", True), ("expect: 100-Continue \r\n", True)]
)
def test_expectations_are_found_in_any_case(line: str, waits: bool) -> None:
    head, _ = read([f"POST / HTTP/1.1\r\nHost: a\r\n{line}Content-Length: 1\r\n\r\n".encode()])
    assert check_expectation(head) is waits


def test_limits_are_those_that_are_set() -> None:
    limits = LimitsConfig(max_header_bytes=256, max_header_count=8)
    head = b"GET / HTTP/1.1\r\nHost: a\r\n"
    read([head + b"\r\n"], limits)
    for more in (b"A: " + b"x" * 256 + b"\r\n", b"A: b\r\n" * 8):
        with pytest.raises(ApiError) as raised:
            read([head + more + b"\r\n"], limits)
        assert (raised.value.status, raised.value.code) == (431, "headers_too_large")


def encode_chunks(parts: list[bytes], extension: bytes = b"", trailer: bytes = b"") -> bytes:
    chunks = b"".join(b"%X%b\r\n%b\r\n" % (len(part), extension, part) for part in parts if part)
    return chunks + b"0\r\n" + trailer + b"\r\n"


@given(
    st.lists(st.binary(max_size=40), max_size=6),
    st.sampled_from([b"", b";a", b" ; a=b"]),
    st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC:\r\n"]),
    st.lists(st.integers(0, 400), max_size=10),
)
def test_chunks_are_joined_however_they_arrive(
    parts: list[bytes], extension: bytes, trailer: bytes, places: list[int]
) -> None:
    taken: list[int] = []
    body = ChunkedBody(taken.append)
    data = encode_chunks(parts, extension, trailer)
    rest = b""
    for piece in cut(data + b"next", places):
        rest += piece[body.feed(piece, 0) :]
    assert body.complete
    assert (bytes(body.content), sum(taken), rest) == (b"".join(parts), len(b"".join(parts)), b"next")


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_chunks_of_nonsense_are_refused_or_incomplete_but_never_more_than_was_sent(
    data: bytes, places: list[int]
) -> None:
    body = ChunkedBody(lambda size: None)
    status = None
    try:
        for piece in cut(data, places):
            body.feed(piece, 0)
    except ApiError as error:
        status = error.status
    assert status in (None, 400, 431)
    assert len(body.content) <= len(data)


def test_a_chunk_is_refused_before_it_is_stored() -> None:
    def refuse(size: int) -> None:
        raise ApiError(413, "body_too_large", "no")

    body = ChunkedBody(refuse)
    with pytest.raises(ApiError):
        body.feed(b"FFFFFF\r\n" + bytes(100), 0)
    assert not body.content


def test_a_budget_refuses_what_does_not_fit_unless_it_comes_alone() -> None:
    budget = ByteBudget(100)
    assert budget.take(60)
    assert not budget.take(41)
    assert budget.take(40)
    budget.give(100)
    assert budget.take(1000)
    assert not budget.take(1)
    budget.give(1000)
    assert budget.used_bytes == 0


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory.max": "1048576"}, 1048576),
        ({"memory/memory.limit_in_bytes": "2097152"}, 2097152),
        ({"memory.max": "max"}, None),
        ({"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
        ({}, None),
    ],
)
def test_memory_is_the_containers_or_the_machines(tmp_path: Path, files: dict[str, str], expected: int | None) -> None:
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content + "\n")
    limit = memory_limit_bytes(tmp_path)
    assert limit == expected if expected else limit > 2**27


@pytest.fixture
def few_files() -> Iterator[int]:
    """The process may open 1000 files, and as many as it could before when it asks."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1000, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_makes_room_for_connections_as_far_as_it_may(few_files: int, caplog: pytest.LogCaptureFixture) -> None:
    assert make_room(400) == 400
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 1000
    assert make_room(2000) == 2000
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 2512
    assert not caplog.records
    if few_files != resource.RLIM_INFINITY:
        assert make_room(few_files + 1) == few_files - 512
        assert "ulimit" in caplog.text


def test_health_is_open_with_and_without_the_prefix() -> None:
    config = RuntimeConfig.model_validate({"name": "m", "artifact": {"uri": "file:///m"}, "rootPath": "/models/m"})
    assert Rules.of(config).open_paths == {
        b"/v2/health/live",
        b"/v2/health/ready",
        b"/v2/models/m/ready",
        b"/models/m/v2/health/live",
        b"/models/m/v2/health/ready",
        b"/models/m/v2/models/m/ready",
    }


def test_no_header_begins_another_one() -> None:
    assert header(b"Allow", b"GET\r\nX-Evil: 1") == b"Allow: GETX-Evil: 1\r\n"
    assert len({choose_request_id(None) for _ in range(1000)}) == 1000
    assert choose_request_id(b"a b") == "a b"
    assert choose_request_id(b" a \t") == "a", "a client reads back no space around it"
