"""multipart/form-data (RFC 7578) to its parts: what a form's fields and file uploads become.

Pure, but for the log of the library that reads them, which is silenced once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from slipway_runtime.protocol.codec import Buffer
from slipway_runtime.protocol.errors import ApiError, bad_request

MAX_PARTS: Final = 1024

# It warns of every malformed body. The client is told; the log is not the clients' to fill.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


@dataclass(slots=True)
class Part:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    """Names in lower case."""
    chunks: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def content_type(self) -> bytes | None:
        return self.headers.get(b"content-type")

    @property
    def _disposition(self) -> dict[bytes, bytes]:
        return parse_options_header(self.headers.get(b"content-disposition", b""))[1]

    @property
    def name(self) -> str | None:
        name = self._disposition.get(b"name")
        return None if name is None else name.decode("utf-8", "replace")

    @property
    def filename(self) -> bytes:
        return self._disposition.get(b"filename", b"")


def read_parts(content_type: bytes, body: Buffer) -> list[Part]:
    """Raises `ApiError` 400 for what is no form."""
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise bad_request("invalid_multipart", "Content-Type is multipart/form-data without a boundary.")
    reader = _Reader()
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": reader.begin,
                "on_part_data": reader.data,
                "on_header_field": reader.header_name,
                "on_header_value": reader.header_value,
                "on_header_end": reader.header_end,
                "on_end": reader.end,
            },
        )
        parser.write(bytes(body))
        parser.finalize()
    except FormParserError as error:
        raise _broken(str(error)) from None
    if not reader.ended:
        raise _broken("it ends before the closing boundary")
    return reader.parts


class _Reader:
    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.ended = False
        self._name = b""
        self._value = b""

    def begin(self) -> None:
        if len(self.parts) >= MAX_PARTS:
            raise bad_request("invalid_multipart", f"The form has more than {MAX_PARTS} parts.")
        self.parts.append(Part())

    def data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].chunks.append(data[start:end])

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        self.parts[-1].headers[self._name.strip().lower()] = self._value.strip()
        self._name = self._value = b""

    def end(self) -> None:
        self.ended = True


def _broken(detail: str) -> ApiError:
    return bad_request("invalid_multipart", f"The body is not multipart/form-data: {detail[:200]}.")
