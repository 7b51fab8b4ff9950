"""Request bodies: the right kind, not too large, in time."""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import Request

from slipway_runtime.protocol.errors import ApiError
from slipway_runtime.protocol.v2 import BINARY_HEADER

_JSON_TYPES: Final = frozenset({"application/json", "application/octet-stream", "application/x-www-form-urlencoded"})
"""Octet-stream: tritonclient's habit for JSON. Form: what curl -d sends when it is told nothing."""


def check_headers(request: Request) -> None:
    headers = request.headers
    if BINARY_HEADER in headers:
        raise ApiError(
            400,
            "not_supported",
            "Inference-Header-Content-Length announces the binary tensor extension, which is not supported. Send the"
            " values as JSON in 'data' (tritonclient: set_data_from_numpy(array, binary_data=False)).",
        )
    content_type = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if content_type not in _JSON_TYPES and not content_type.endswith("+json"):
        raise ApiError(
            415, "unsupported_media_type", f"Got Content-Type {content_type[:100]!r}, expected application/json."
        )
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise ApiError(
            415,
            "unsupported_encoding",
            f"Got Content-Encoding {encoding[:100]!r}, expected none: send the body as it is.",
        )


async def read_body(request: Request, limit_bytes: int, seconds: float) -> bytes:
    """`seconds` is for the whole body. Raises starlette's ClientDisconnect when the client leaves."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit_bytes:
        raise _too_large(limit_bytes)
    parts = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                if len(parts) + len(chunk) > limit_bytes:
                    raise _too_large(limit_bytes)
                parts += chunk
    except TimeoutError:
        raise ApiError(
            408,
            "body_too_slow",
            "The request's body did not arrive within the request timeout.",
            headers={"Connection": "close"},
        ) from None
    return bytes(parts)


def _too_large(limit_bytes: int) -> ApiError:
    return ApiError(
        413,
        "body_too_large",
        f"The body is larger than {limit_bytes} bytes (spec.traffic.maxRequestBytes). Send less at once.",
    )
