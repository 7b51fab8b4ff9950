"""Clients of every kind. Each method asks once and returns the outcome as `verdict.ALLOWED` writes it."""

from __future__ import annotations

import asyncio
import gzip
import random
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import numpy as np

from tests.soak.mutator import mutate
from tests.soak.questions import FORMS, INFER, MODEL, Encoded, Question, head, make_question, oip_binary, oip_json
from tests.soak.wire import Answer, Connection, Server

MAX_REQUEST_BYTES: Final = 256 * 1024
REQUEST_TIMEOUT_SECONDS: Final = 5
"""Both as the runtime is told."""
_WIDE: Final = 32_768
"""Values of one row whose binary answer takes 128 KiB."""

_BLANKS: Final = b" " * (MAX_REQUEST_BYTES * 20)
_BOMBS: Final = {"gzip": gzip.compress(_BLANKS), "deflate": zlib.compress(_BLANKS)}


class WrongAnswerError(AssertionError):
    """An answer with values that are not the question's, or an error without what every error has."""


Kind = Callable[["Clients"], Awaitable[str]]


class Clients:
    def __init__(self, server: Server, chance: random.Random) -> None:
        self._server = server
        self._chance = chance
        self._numbers = 0

    def question(self, rows: int = 0, width: int = 0) -> Question:
        self._numbers += 1
        return make_question(self._numbers, self._chance, rows, width)

    # Honest ones.

    async def honest(self, form: str, extra: Mapping[str, str] | None = None) -> str:
        question = self.question()
        encoded = FORMS[form](question)
        return judge(question, encoded, await self._server.ask(encoded.request(question, extra)))

    async def priority(self) -> str:
        return await self.honest("OIP binary", {"X-Priority": str(self._chance.choice((0, 1, 2, 3, 9)))})

    async def expired(self) -> str:
        return await self.honest("OIP JSON", {"X-Request-Timeout-Ms": str(self._chance.choice((1, 2, 5, 20)))})

    async def chunked(self) -> str:
        question = self.question()
        encoded = oip_json(question)
        begin = head(encoded.path, question.request_id, {"Transfer-Encoding": "chunked"})
        return judge(question, encoded, await self._server.ask(begin + chunks(encoded.body, self._chance)))

    async def pipelined(self) -> str:
        """Several on one connection at once; the answers come in their order. The first that is none of 200 counts."""
        asked = []
        for _ in range(self._chance.randint(2, 5)):
            question = self.question()
            asked.append((question, FORMS[self._chance.choice(list(FORMS))](question)))
        async with self._server.fresh() as connection:
            await connection.send(b"".join(encoded.request(question) for question, encoded in asked))
            outcomes = [judge(question, encoded, await connection.read_answer()) for question, encoded in asked]
        return next((outcome for outcome in outcomes if outcome != "200"), "200")

    # Slow ones.

    async def slow_body(self) -> str:
        question = self.question(width=_WIDE // 8, rows=1)
        encoded = oip_binary(question)
        data = encoded.request(question)
        async with self._server.fresh() as connection:
            begun = time.monotonic()
            await drip(connection, data, pieces=10, pause_seconds=0.1)
            late = time.monotonic() - begun > REQUEST_TIMEOUT_SECONDS - 0.5
            outcome = judge(question, encoded, await connection.read_answer())
            # On a machine that is busy the pauses may be longer than the server's patience.
            return "too slow itself" if late and outcome == "408 body_too_slow" else outcome

    async def slow_reader(self) -> str:
        question = self.question(rows=1, width=_WIDE)
        encoded = oip_binary(question)
        async with self._server.fresh(receive_bytes=8192) as connection:
            await connection.send(encoded.request(question))
            return judge(question, encoded, await connection.read_answer(pause_seconds=0.03))

    async def stalled_body(self) -> str:
        question = self.question()
        data = oip_json(question).request(question)
        return await self._refused(question, data[: -self._chance.randint(1, 20)])

    async def stalled_head(self) -> str:
        question = self.question()
        data = head(INFER, question.request_id, {"Content-Length": "10"})
        return await self._refused(None, data[: self._chance.randint(1, len(data) - 1)])

    # Those who leave.

    async def left_mid_body(self) -> str:
        question = self.question()
        data = oip_binary(question).request(question)
        async with self._server.fresh() as connection:
            await connection.send(data[: -self._chance.randint(1, 40)])
            await self._leave(connection)
        return "left"

    async def left_waiting(self) -> str:
        question = self.question()
        async with self._server.fresh() as connection:
            await connection.send(oip_binary(question).request(question))
            await self._leave(connection)
        return "left"

    async def left_mid_answer(self) -> str:
        question = self.question(rows=1, width=_WIDE)
        encoded = oip_binary(question)
        async with self._server.fresh(receive_bytes=8192) as connection:
            await connection.send(encoded.request(question))
            first = await connection.reader.readuntil(b"\r\n")
            if b" 200 " not in first:
                connection.reader._buffer[:0] = first  # type: ignore[attr-defined]
                return judge(question, encoded, await connection.read_answer())
            connection.abort()
        return "left"

    async def _leave(self, connection: Connection) -> None:
        await asyncio.sleep(self._chance.choice((0, 0, 0.005, 0.05)))
        if self._chance.random() < 0.5:
            connection.abort()

    # Those who are wrong.

    async def broken_body(self) -> str:
        """The frame is right, what is in it is not."""
        question = self.question()
        encoded = FORMS[self._chance.choice(list(FORMS))](question)
        body = mutate(encoded.body, self._chance)
        request = Encoded(encoded.path, encoded.headers, body, encoded.read).request(question)
        return await self._refused(question, request)

    async def broken_head(self) -> str:
        question = self.question()
        encoded = FORMS[self._chance.choice(list(FORMS))](question)
        data = encoded.request(question)
        place = data.index(b"\r\n\r\n") + 4
        broken = mutate(data[:place], self._chance).lstrip(b"\r\n")
        # Empty lines alone are no request yet, and HEAD has answers without a body.
        return await self._refused(None, (broken or b"P") + data[place:])

    async def oversized_length(self) -> str:
        question = self.question()
        begin = head(
            INFER, question.request_id, {"Content-Length": str(MAX_REQUEST_BYTES + self._chance.randint(1, 10**9))}
        )
        return await self._refused(question, begin + bytes(self._chance.randint(0, 65536)))

    async def oversized_chunked(self) -> str:
        question = self.question()
        begin = head(INFER, question.request_id, {"Transfer-Encoding": "chunked"})
        return await self._refused(
            question, begin + b"8000\r\n" + b" " * 0x8000 + b"\r\n" + (b"8000\r\n" + b" " * 0x8000 + b"\r\n") * 9
        )

    async def oversized_unpacked(self) -> str:
        question = self.question()
        name = self._chance.choice(list(_BOMBS))
        body = _BOMBS[name]
        headers = {"Content-Encoding": name, "Content-Length": str(len(body))}
        return await self._refused(question, head(INFER, question.request_id, headers) + body)

    async def bad_header(self) -> str:
        name, change, expected = self._chance.choice(BAD_HEADERS)
        question = self.question()
        outcome = await self._refused(None, change(oip_json(question).request(question)))
        return "as expected" if outcome == expected else f"{outcome} instead of {expected} for {name}"

    async def _refused(self, question: Question | None, data: bytes) -> str:
        """With a question the answer must have its id; without one the head may be unreadable."""
        async with self._server.fresh() as connection:
            await connection.send(data)
            answer = await connection.read_answer()
            if answer.status == 200:
                return "200"
            return judge_error(answer, question.request_id if question else None)


def judge(question: Question, encoded: Encoded, answer: Answer) -> str:
    """Raises `WrongAnswerError`."""
    if answer.status != 200:
        return judge_error(answer, question.request_id)
    if answer.headers.get("x-request-id") != question.request_id:
        raise WrongAnswerError(f"{question.request_id} was answered with the id {answer.headers.get('x-request-id')}")
    try:
        values = encoded.read(answer)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise WrongAnswerError(f"{question.request_id}: cannot read {answer.body[:200]!r}: {error}") from None
    if not np.array_equal(values, question.expected):
        raise WrongAnswerError(f"{question.request_id}: expected {question.expected.tolist()}, got {values.tolist()}")
    return "200"


def judge_error(answer: Answer, request_id: str | None) -> str:
    """Status and code. Raises `WrongAnswerError` where a part is missing that every error has."""
    try:
        error = answer.json
        outcome = f"{answer.status} {error['code']}"
        complete = bool(error["error"]) and error["request_id"] == answer.headers.get("x-request-id")
        complete &= (
            error["model"] == MODEL and isinstance(error["retryable"], bool) and "Traceback" not in error["error"]
        )
    except (ValueError, KeyError, TypeError) as reason:
        raise WrongAnswerError(
            f"{answer.status} without an error in JSON ({reason!r}): {answer.body[:200]!r}"
        ) from None
    if not complete or (request_id and error["request_id"] != request_id):
        raise WrongAnswerError(f"{outcome} is incomplete: {answer.body[:300]!r} with {answer.headers}")
    if answer.status in (429, 503) and not answer.headers.get("retry-after", "").isdigit():
        raise WrongAnswerError(f"{outcome} has no Retry-After: {answer.headers}")
    return outcome


def chunks(body: bytes, chance: random.Random) -> bytes:
    framed = bytearray()
    while body:
        size = chance.randint(1, 60)
        piece, body = body[:size], body[size:]
        framed += b"%x\r\n%b\r\n" % (len(piece), piece)
    return bytes(framed + b"0\r\n\r\n")


async def drip(connection: Connection, data: bytes, pieces: int, pause_seconds: float) -> None:
    size = -(-len(data) // pieces)
    for begin in range(0, len(data), size):
        await connection.send(data[begin : begin + size])
        await asyncio.sleep(pause_seconds)


def _with(line: str) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(b"\r\n", b"\r\n" + line.encode() + b"\r\n", 1)


def _instead(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(old, new, 1)


BAD_HEADERS: Final[tuple[tuple[str, Callable[[bytes], bytes], str], ...]] = (
    ("two lengths", _with("Content-Length: 3"), "400 invalid_http"),
    ("length and chunks", _with("Transfer-Encoding: chunked"), "400 invalid_http"),
    ("no Host", _instead(b"Host:", b"Hose:"), "400 invalid_http"),
    ("two Hosts", _with("Host: other"), "400 invalid_http"),
    ("a bare line feed", _instead(b"Host: localhost\r\n", b"Host: localhost\n"), "400 invalid_http"),
    ("an unknown expectation", _with("Expect: miracles"), "417 expectation_failed"),
    ("a timeout that is none", _with("X-Request-Timeout-Ms: soon"), "400 invalid_header"),
    ("a priority that is none", _with("X-Priority: -1"), "400 invalid_header"),
    ("a JSON longer than the body", _with("Inference-Header-Content-Length: 999999"), "400 bad_inference_header"),
    ("a JSON of negative length", _with("Inference-Header-Content-Length: -1"), "400 bad_inference_header"),
    ("an unknown encoding", _with("Content-Encoding: br"), "415 unsupported_encoding"),
    ("no gzip", _with("Content-Encoding: gzip"), "400 invalid_encoding"),
    ("another model", _instead(MODEL.encode(), b"soup"), "404 model_not_found"),
    ("another version", _instead(b"/infer", b"/versions/9/infer"), "404 version_not_found"),
    ("another path", _instead(b"/v2/", b"/v7/"), "404 route_not_found"),
    ("another method", _instead(b"POST", b"PUT"), "405 method_not_allowed"),
    ("long headers", _with("X-Long: " + "a" * 40_000), "431 headers_too_large"),
    ("many headers", _with("\r\n".join(f"X-{n}: 1" for n in range(200))), "431 headers_too_large"),
    ("a long path", _instead(b"/infer", b"/infer?" + b"a" * 9000), "414 uri_too_long"),
)

_HONEST: Final[dict[str, Kind]] = {
    f"honest {form}": lambda clients, form=form: clients.honest(form)  # type: ignore[misc]
    for form in FORMS
}
KINDS: Final[dict[str, tuple[int, Kind]]] = {
    **{name: (10, kind) for name, kind in _HONEST.items()},
    "honest chunked": (4, Clients.chunked),
    "honest pipelined": (3, Clients.pipelined),
    "priority": (6, Clients.priority),
    "expired timeout": (6, Clients.expired),
    "slow body": (1, Clients.slow_body),
    "slow reader": (1, Clients.slow_reader),
    "stalled body": (1, Clients.stalled_body),
    "stalled head": (1, Clients.stalled_head),
    "left mid-body": (4, Clients.left_mid_body),
    "left waiting": (4, Clients.left_waiting),
    "left mid-answer": (1, Clients.left_mid_answer),
    "broken body": (12, Clients.broken_body),
    "broken head": (6, Clients.broken_head),
    "oversized length": (2, Clients.oversized_length),
    "oversized chunked": (2, Clients.oversized_chunked),
    "oversized unpacked": (2, Clients.oversized_unpacked),
    "bad header": (6, Clients.bad_header),
}
"""With the weight of each in the mixture."""
