"""Large tensors past protobuf: read where they lie in a message, written behind one. Pure.

protobuf copies a `bytes` field twice on its way in and twice on its way out. Its wire format says where the fields lie.
Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from slipway_runtime.protocol.codec import Buffer

_LENGTH_DELIMITED: Final = 2
_LONGEST_VARINT: Final = 10
_ONE_BYTE: Final = 0x7F
"""The greatest number of a varint of one byte."""


def take_out(message: bytes, field_number: int) -> tuple[bytes, list[memoryview]] | None:
    """The message without the fields of that number, and what they hold, as views.

    None for a message that is not made of length-delimited fields alone or is cut short: protobuf then decides.
    """
    view = memoryview(message)
    rest: list[memoryview] = []
    taken: list[memoryview] = []
    position, end = 0, len(message)
    while position < end:
        start = position
        key, position = message[position], position + 1
        if key & 7 != _LENGTH_DELIMITED:
            return None
        if key > _ONE_BYTE:  # a field number above 15
            number = _varint(message, start)
            if number is None:
                return None
            key, position = number
        length = _varint(message, position)
        if length is None or length[1] + length[0] > end:
            return None
        body, position = length[1], length[1] + length[0]
        if key >> 3 == field_number:
            taken.append(view[body:position])
        else:
            rest.append(view[start:position])
    return b"".join(rest), taken


def _varint(message: bytes, position: int) -> tuple[int, int] | None:
    """The number and where it ends."""
    if position < len(message) and message[position] <= _ONE_BYTE:
        return message[position], position + 1
    value = shift = 0
    for offset in range(position, min(position + _LONGEST_VARINT, len(message))):
        byte = message[offset]
        value |= (byte & 0x7F) << shift
        if byte <= _ONE_BYTE:
            return value, offset + 1
        shift += 7
    return None


def append(message: bytes, field_number: int, contents: Iterable[Buffer]) -> bytes:
    """The message with one more field of that number for each of `contents`."""
    key = bytes([field_number << 3 | _LENGTH_DELIMITED])
    parts: list[Buffer] = [message]
    for content in contents:
        size = content.nbytes if isinstance(content, memoryview) else len(content)
        parts += (key, varint(size), content)
    return b"".join(parts)


def varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
