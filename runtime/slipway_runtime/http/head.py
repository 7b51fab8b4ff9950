"""A request's head: read by llhttp, bounded, and refused where two readers could disagree about it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import httptools

from slipway_runtime.contract import LimitsConfig
from slipway_runtime.protocol.errors import ApiError

MAX_URI_BYTES: Final = 8192
"""What nginx and most other servers take."""
_END: Final = b"\r\n\r\n"
_HOST: Final = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=:%\[\]-]*[ \t]*")
_SINGLE: Final = frozenset(
    {
        b"authorization",
        b"content-type",
        b"inference-header-content-length",
        b"x-api-key",
        b"x-priority",
        b"x-request-timeout-ms",
    }
)
"""Headers that decide what a request is, and that are no lists."""


@dataclass(slots=True, eq=False)
class Head:
    """Of one request. It is shared by requests whose heads are the same bytes."""

    method: bytes
    path: bytes
    query: bytes
    headers: dict[bytes, bytes]
    """Names in lower case; of a repeated header the last value."""
    fields: list[tuple[bytes, bytes]]
    """As sent, repeated ones included, names in lower case."""
    version: str
    """1.0 or 1.1."""
    keep_alive: bool
    length_bytes: int | None
    """Of the body. None: it comes in chunks."""


def invalid_http(message: str) -> ApiError:
    return ApiError(400, "invalid_http", f"This is not a valid HTTP/1.1 request: {message}")


class _Sink:
    """What llhttp calls. It does not know its parser, so that the two are no cycle for the garbage collector."""

    __slots__ = ("fields", "heads", "url")

    def __init__(self) -> None:
        self.url = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.heads = 0

    def on_url(self, piece: bytes) -> None:
        self.url += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.heads += 1


class HeadReader:
    """Takes bytes until the head is complete. One reader for one head."""

    __slots__ = ("_limits", "_parser", "_sink", "_tail", "head", "size_bytes")

    def __init__(self, limits: LimitsConfig) -> None:
        self._limits = limits
        self._sink = _Sink()
        self._parser = httptools.HttpRequestParser(self._sink)
        self.size_bytes = 0
        self._tail = b""
        self.head: Head | None = None

    def feed(self, data: bytes, start: int = 0) -> int | None:
        """Where the body begins in `data`, or None when the head goes on after it. Raises `ApiError`.

        llhttp is given nothing beyond the blank line, so that it has no say in where the body ends.
        """
        tail = len(self._tail)
        window = self._tail + data[start:] if tail else data
        offset = start - tail if tail else 0
        found = window.find(_END, 0 if tail else start)
        while found >= 0:
            end = found + len(_END) + offset
            self._parse(data[start:end])
            if self._sink.heads:
                self.head = self._understand()
                return end
            start, found = end, window.find(_END, found + 1)
        self._parse(data[start:])
        self._tail = window[-3:]
        return None

    def _parse(self, piece: bytes) -> None:
        limits, sink = self._limits, self._sink
        allowed = limits.max_header_bytes - self.size_bytes
        self.size_bytes += len(piece)
        try:
            self._parser.feed_data(piece if len(piece) <= allowed else piece[:allowed])
        except httptools.HttpParserUpgrade:
            # Another protocol is offered, not demanded: the request is answered as the HTTP/1.1 that it is.
            pass
        except httptools.HttpParserError as error:
            raise invalid_http(f"{error}.") from None
        if len(sink.url) > MAX_URI_BYTES:
            raise ApiError(414, "uri_too_long", f"The request's target is longer than {MAX_URI_BYTES} bytes.")
        if len(sink.fields) > limits.max_header_count:
            raise _too_large(f"are more than {limits.max_header_count} (maxHeaderCount)")
        if len(piece) > allowed:
            raise _too_large(f"are larger than {limits.max_header_bytes} bytes (maxHeaderBytes)")

    def _understand(self) -> Head:
        version, fields = self._parser.get_http_version(), self._sink.fields
        if self._sink.heads > 1 or version not in ("1.0", "1.1"):
            raise invalid_http(f"got the version {version}, expected 1.1 or 1.0.")
        headers = dict(fields)
        # Most requests repeat no header, and then there is nothing to count.
        repeats = len(headers) < len(fields)
        if b"host" not in headers or repeats:
            _check_hosts(version, fields)
        if repeats:
            _check_repeated(headers, fields)
        if not _HOST.fullmatch(headers.get(b"host", b"")):
            raise invalid_http("its Host header names no host.")
        method = self._parser.get_method()
        path, query = self._split_target(method)
        return Head(
            method,
            path,
            query,
            headers,
            fields,
            version,
            _keeps_alive(version, headers),
            _body_length(version, headers),
        )

    def _split_target(self, method: bytes) -> tuple[bytes, bytes]:
        target = self._sink.url
        if not target.startswith(b"/") and target != b"*":
            if method == b"CONNECT":
                raise ApiError(
                    405, "method_not_allowed", "CONNECT is for proxies.", headers={"Allow": "GET, HEAD, POST"}
                )
            try:
                url = httptools.parse_url(target)
            except httptools.HttpParserError:
                raise invalid_http("its target is no path and no URL.") from None
            return url.path or b"/", url.query or b""
        path, _, query = target.partition(b"#")[0].partition(b"?")
        return path, query


def _too_large(how: str) -> ApiError:
    return ApiError(431, "headers_too_large", f"The request's headers {how}. Send fewer or shorter ones.")


def _check_hosts(version: str, fields: list[tuple[bytes, bytes]]) -> None:
    hosts = sum(name == b"host" for name, _ in fields)
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        raise invalid_http(f"it has {hosts} Host headers, expected one.")


def _check_repeated(headers: dict[bytes, bytes], fields: list[tuple[bytes, bytes]]) -> None:
    """A proxy may have read the first of two values, we would read the last."""
    for name, value in fields:
        if name in _SINGLE and value != headers[name]:
            raise invalid_http(f"it has {name.decode()} with two values, expected one.")
    if sum(name == b"content-encoding" for name, _ in fields) > 1:
        raise invalid_http("it has content-encoding twice, expected it once.")


def _keeps_alive(version: str, headers: dict[bytes, bytes]) -> bool:
    connection = headers.get(b"connection")
    if connection is None:
        return version == "1.1"
    words = [word.strip() for word in connection.lower().split(b",")]
    return b"close" not in words and (version == "1.1" or b"keep-alive" in words)


def _body_length(version: str, headers: dict[bytes, bytes]) -> int | None:
    """llhttp has refused what contradicts itself; this refuses what it leaves to its caller."""
    coding = headers.get(b"transfer-encoding")
    if coding is None:
        return int(headers.get(b"content-length", b"0"))
    if version == "1.0":
        raise invalid_http("HTTP/1.0 knows no Transfer-Encoding.")
    if coding.strip().lower() != b"chunked":
        raise ApiError(501, "not_supported", "The only Transfer-Encoding that is understood is chunked.")
    return None


def check_expectation(head: Head) -> bool:
    """Whether the client waits for 100 Continue before it sends the body."""
    expectation = head.headers.get(b"expect")
    if expectation is None or head.version == "1.0":
        return False
    if expectation.strip().lower() != b"100-continue":
        raise ApiError(417, "expectation_failed", "The only expectation that can be met is 100-continue.")
    return True
