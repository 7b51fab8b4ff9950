"""Request bodies: not too large, in time."""

from __future__ import annotations

import asyncio

from fastapi import Request

from slipway_runtime.protocol.errors import ApiError


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
