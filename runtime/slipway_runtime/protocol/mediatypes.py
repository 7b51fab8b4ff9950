"""Content-Type and Accept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from slipway_runtime.protocol.errors import ApiError

JSON: Final = b"application/json"
OCTET_STREAM: Final = b"application/octet-stream"
_JSON_NAMES: Final = frozenset({JSON, OCTET_STREAM, b"application/x-www-form-urlencoded", b""})
"""Octet-stream: tritonclient's habit for JSON. Form: what curl -d sends when it is told nothing."""


def media_type(value: bytes | None) -> bytes:
    """Of a Content-Type, in lower case and without parameters; empty when there is none."""
    return value.partition(b";")[0].strip().lower() if value else b""


def check_json(content_type: bytes | None) -> None:
    """Raises 415 for a body that is said to be something else."""
    if content_type is None or content_type == JSON:
        return
    name = media_type(content_type)
    if name not in _JSON_NAMES and not is_json(name):
        raise unsupported(name, "application/json")


def is_json(name: bytes) -> bool:
    return name == JSON or name.endswith(b"+json")


def unsupported(name: bytes, expected: str) -> ApiError:
    return ApiError(
        415, "unsupported_media_type", f"Got Content-Type {name[:100].decode('latin-1')!r}, expected {expected}."
    )


def choose_media_type(accept: bytes | None, offered: Sequence[bytes]) -> bytes | None:
    """The one of `offered` that `accept` weighs most, the earlier of equals; None when it takes none of them."""
    if not accept or accept.strip() == b"*/*":
        return offered[0]
    best, best_weight = None, 0.0
    ranges = [_range(part) for part in accept.split(b",")]
    for name in offered:
        weight = _weight_of(name, ranges)
        if weight > best_weight:
            best, best_weight = name, weight
    return best


def _range(part: bytes) -> tuple[bytes, float]:
    name, *parameters = part.split(b";")
    weight = 1.0
    for parameter in parameters:
        key, _, value = parameter.strip().partition(b"=")
        if key.strip().lower() == b"q":
            try:
                weight = float(value)
            except ValueError:
                weight = 0.0
    return name.strip().lower(), weight if 0 <= weight <= 1 else 0.0


def _weight_of(name: bytes, ranges: Sequence[tuple[bytes, float]]) -> float:
    """The most specific range decides (RFC 9110)."""
    for pattern in (name, name.partition(b"/")[0] + b"/*", b"*/*"):
        for given, weight in ranges:
            if given == pattern:
                return weight
    return 0.0
