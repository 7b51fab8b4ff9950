"""What answers look like on the wire. Pure."""

from __future__ import annotations

import itertools
import secrets
from http import HTTPStatus
from typing import Final

from slipway_runtime.http.exchange import Reply
from slipway_runtime.protocol.codec import Buffer
from slipway_runtime.protocol.errors import ApiError
from slipway_runtime.protocol.jsontext import render

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE: Final = b"Connection: close\r\n"
KEEP_ALIVE: Final = b"Connection: keep-alive\r\n"
"""Only HTTP/1.0 needs to be told."""
_REQUEST_ID_LIMIT: Final = 128
_LINE_BREAKS: Final = b"\r\n\0"
BODILESS: Final = frozenset({204, 304})
"""Statuses without a body."""

STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus if status >= 200
}


def status_line(status: int) -> bytes:
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def header(name: bytes, value: bytes) -> bytes:
    """One line. Line breaks, which would begin another header, are dropped."""
    return b"%b: %b\r\n" % (name.translate(None, _LINE_BREAKS), value.translate(None, _LINE_BREAKS))


def choose_request_id(given: bytes | None) -> str:
    """The client's own when it is printable and short, because it is echoed in a header and logged."""
    if given:
        text = given.decode("latin-1").strip()  # a parser leaves some of the space, and no client reads it back
        if text and len(text) <= _REQUEST_ID_LIMIT and text.isascii() and text.isprintable():
            return text
    return new_request_id()


def new_request_id() -> str:
    """Unique, not secret: 32 hexadecimal digits, of which the first half tells the process."""
    return "%s%016x" % (_RUN, next(_numbers))  # noqa: UP031 - half the time of an f-string


def new_request_ids(count: int) -> list[bytes]:
    """As many, as they are written."""
    return [b"%b%016x" % (_RUN_BYTES, next(_numbers)) for _ in range(count)]


def success_format(content_type: bytes, date_line: bytes, rest: bytes) -> bytes:
    """Answers that differ little, as a format of `%`: the body's length, the request's id, what `rest`, further header
    lines, has places for, and the body."""
    start = b"%bContent-Type: %b\r\n" % (status_line(200), content_type)
    return b"%bContent-Length: %%d\r\nX-Request-Id: %%b\r\n%b" % (start, date_line) + rest + b"\r\n%b"


_RUN: Final = secrets.token_hex(8)
_RUN_BYTES: Final = _RUN.encode()
_numbers: Final = itertools.count(secrets.randbits(32))


def send_error(reply: Reply, error: ApiError, *, request_id: str, model: str) -> None:
    body: list[Buffer] = [render(error.body(request_id=request_id, model=model))]
    headers = [(name.encode(), value.encode("latin-1", "replace")) for name, value in error.headers.items()]
    reply.send(error.status, b"application/json", body, headers)
