"""Content-Encoding of requests and answers: gzip and deflate, bounded. Pure.

`deflate` is the zlib format (RFC 9110); bare deflate streams, which some clients send under that name, are read too.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

from slipway_runtime.protocol.codec import Buffer
from slipway_runtime.protocol.errors import ApiError, bad_request

MIN_COMPRESSED_BYTES: Final = 1024
"""Smaller answers are sent as they are: compressing them costs time and saves no packet."""

MAX_MEMBERS: Final = 16384
"""Streams in one gzip body. Tools that make many (bgzip) put 64 KiB into each."""
_PIECE_BYTES: Final = 16 * 1024
"""What follows a stream's end in what zlib was given is copied: were that the whole body, a body of many small streams
would be copied once for each."""

_GZIP: Final = b"gzip"
_DEFLATE: Final = b"deflate"
_IDENTITY: Final = frozenset({b"", b"identity"})
_WINDOW: Final = {_GZIP: 31, _DEFLATE: 15}
"""zlib's words for the two formats."""
_BARE_WINDOW: Final = -15
_LEVEL: Final = 1
"""The fastest: tensors hardly shrink further."""


def decompress(body: Buffer, encoding: bytes, limit_bytes: int) -> Buffer:
    """`encoding` is the header's value. Raises `ApiError`: 415 for another encoding, 413 above the limit, 400 for a
    body that is not what its header says."""
    name = _normal(encoding)
    if name in _IDENTITY:
        return body
    if name not in _WINDOW:
        raise ApiError(
            415,
            "unsupported_encoding",
            f"Got Content-Encoding {_shown(encoding)}, expected gzip, deflate or none.",
            headers={"Accept-Encoding": "gzip, deflate"},
        )
    data = memoryview(body)
    if not data:
        raise _broken(name, "it is empty")
    output = bytearray()
    members = 0
    while data:
        if members == MAX_MEMBERS:
            raise _broken(name, f"it has more than {MAX_MEMBERS} streams one after another")
        data = _inflate_member(data, name, output, limit_bytes)
        members += 1
    return bytes(output)


def _inflate_member(data: memoryview, name: bytes, output: bytearray, limit_bytes: int) -> memoryview:
    """Appends one stream and returns what follows it; only gzip may hold several."""
    stream = zlib.decompressobj(_window(data, name))
    taken = 0
    while not stream.eof and taken < len(data):
        piece = data[taken : taken + _PIECE_BYTES]
        try:
            output += stream.decompress(piece, limit_bytes - len(output) + 1)
        except zlib.error as error:
            raise _broken(name, str(error)) from None
        if len(output) > limit_bytes:
            raise ApiError(
                413,
                "decompressed_too_large",
                f"The body is larger than {limit_bytes} bytes once it is decompressed (maxDecompressedBytes). Send"
                " less at once.",
            )
        taken += len(piece)
    if not stream.eof:
        raise _broken(name, "it ends too early")
    rest = data[taken - len(stream.unused_data) :]
    if rest and name != _GZIP:
        raise _broken(name, f"{len(rest)} bytes follow its end")
    return rest


def _window(data: memoryview, name: bytes) -> int:
    if name == _DEFLATE and (len(data) < 2 or data[0] & 15 != 8 or (data[0] << 8 | data[1]) % 31):
        return _BARE_WINDOW
    return _WINDOW[name]


def choose_encoding(accept: bytes) -> bytes | None:
    """What an answer may be compressed with: gzip or deflate when `accept` (the header's value) names it, the one with
    the greater weight, gzip of equals; None for as it is."""
    best, best_weight = None, 0.0
    for part in accept.split(b","):
        name, _, parameters = part.partition(b";")
        name = _normal(name)
        weight = _weight(parameters)
        if name in _WINDOW and (weight > best_weight or (weight == best_weight and weight and name == _GZIP)):
            best, best_weight = name, weight
    return best


def _weight(parameters: bytes) -> float:
    key, _, value = parameters.strip().partition(b"=")
    if key.strip().lower() != b"q":
        return 1.0
    try:
        weight = float(value)
    except ValueError:
        return 0.0
    return weight if 0 <= weight <= 1 else 0.0


def compress(parts: Sequence[Buffer], encoding: bytes) -> list[Buffer]:
    """`encoding` is one of `choose_encoding`."""
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW[encoding])
    packed: list[Buffer] = [stream.compress(part) for part in parts]
    packed.append(stream.flush())
    return [part for part in packed if part]


def _normal(name: bytes) -> bytes:
    name = name.strip().lower()
    return _GZIP if name == b"x-gzip" else name


def _shown(value: bytes) -> str:
    return repr(value[:100].decode("latin-1"))


def _broken(name: bytes, detail: str) -> ApiError:
    return bad_request("invalid_encoding", f"The body is not {name.decode()} as Content-Encoding says: {detail}.")
