"""Bodies that come in chunks (RFC 9112, section 7.1), decoded strictly. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from slipway_runtime.http.head import invalid_http
from slipway_runtime.protocol.errors import ApiError

_MAX_LINE_BYTES: Final = 256
"""Of a chunk's size with its extensions, which nobody uses."""
_MAX_TRAILER_BYTES: Final = 8192
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[^\x00-\x08\x0a-\x1f\x7f]*)?")
_TRAILER: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00-\x08\x0a-\x1f\x7f]*")


class ChunkedBody:
    """`take` is called with every growth in bytes before it is stored, and raises to refuse it."""

    def __init__(self, take: Callable[[int], None]) -> None:
        self.content = bytearray()
        self.complete = False
        self._take = take
        self._line = bytearray()
        self._left_bytes = 0
        """Of the chunk at hand."""
        self._trailer_bytes = 0
        self._read: Callable[[bytes, int], int] = self._read_size

    def feed(self, data: bytes, start: int) -> int:
        """Where the body ends in `data`, or its length. Raises `ApiError`."""
        while start < len(data) and not self.complete:
            start = self._read(data, start)
        return start

    def _read_size(self, data: bytes, start: int) -> int:
        line, start = self._read_line(data, start, _MAX_LINE_BYTES)
        if line is None:
            return start
        match = _SIZE.fullmatch(line)
        if match is None:
            raise invalid_http("a chunk begins with no size in hexadecimal digits.")
        self._left_bytes = int(match[1], 16)
        if self._left_bytes:
            self._take(self._left_bytes)
            self._read = self._read_content
        else:
            self._read = self._read_trailer
        return start

    def _read_content(self, data: bytes, start: int) -> int:
        end = min(len(data), start + self._left_bytes)
        self.content += memoryview(data)[start:end]
        self._left_bytes -= end - start
        if not self._left_bytes:
            self._read = self._read_end
        return end

    def _read_end(self, data: bytes, start: int) -> int:
        line, start = self._read_line(data, start, 2)
        if line is None:
            return start
        if line:
            raise invalid_http("a chunk is longer than its size says.")
        self._read = self._read_size
        return start

    def _read_trailer(self, data: bytes, start: int) -> int:
        """Trailers are checked and dropped: no request here means anything by them."""
        line, start = self._read_line(data, start, _MAX_TRAILER_BYTES - self._trailer_bytes)
        if line is None:
            return start
        self._trailer_bytes += len(line) + 2
        if not line:
            self.complete = True
        elif not _TRAILER.fullmatch(line):
            raise invalid_http("a trailer is no header.")
        return start

    def _read_line(self, data: bytes, start: int, limit_bytes: int) -> tuple[bytes | None, int]:
        """A line without its CRLF, or None when it is not whole yet; and where to go on."""
        end = data.find(b"\n", start)
        stop = len(data) if end < 0 else end + 1
        self._line += data[start:stop]
        if len(self._line) > limit_bytes:
            raise self._too_long(limit_bytes)
        if end < 0:
            return None, stop
        if not self._line.endswith(b"\r\n"):
            raise invalid_http("a line of its chunked body does not end with CR LF.")
        line = bytes(self._line[:-2])
        self._line.clear()
        return line, stop

    def _too_long(self, limit_bytes: int) -> ApiError:
        if limit_bytes == 2:
            return invalid_http("a chunk is longer than its size says.")
        if self._read == self._read_trailer:
            return ApiError(431, "headers_too_large", f"The trailers are larger than {_MAX_TRAILER_BYTES} bytes.")
        return invalid_http(f"the size of a chunk takes more than {_MAX_LINE_BYTES} bytes.")
