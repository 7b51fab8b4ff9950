"""Errors as gRPC says them: a status code, the same text as over HTTP, and the rest in trailing metadata. Pure."""

from __future__ import annotations

from typing import Final

from grpc import StatusCode

from slipway_runtime.protocol.errors import ApiError

Metadata = tuple[tuple[str, str], ...]

CODES: Final = {
    400: StatusCode.INVALID_ARGUMENT,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    405: StatusCode.UNIMPLEMENTED,
    406: StatusCode.INVALID_ARGUMENT,
    408: StatusCode.DEADLINE_EXCEEDED,
    413: StatusCode.RESOURCE_EXHAUSTED,
    415: StatusCode.INVALID_ARGUMENT,
    422: StatusCode.INVALID_ARGUMENT,
    429: StatusCode.RESOURCE_EXHAUSTED,
    431: StatusCode.RESOURCE_EXHAUSTED,
    499: StatusCode.CANCELLED,
    500: StatusCode.INTERNAL,
    501: StatusCode.UNIMPLEMENTED,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.DEADLINE_EXCEEDED,
}
_MOST_CHARACTERS: Final = 1024
"""Status and metadata travel in headers, which clients limit to 8 KiB."""


def code_of(error: ApiError) -> StatusCode:
    return CODES.get(error.status, StatusCode.INTERNAL if error.status >= 500 else StatusCode.INVALID_ARGUMENT)


def details_of(error: ApiError) -> str:
    text = error.message
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"


def metadata_of(error: ApiError, request_id: str) -> Metadata:
    """`error-code` is for programs. With `retry-after` (seconds) comes what gRPC's own retries understand.

    Source: https://github.com/grpc/proposal/blob/master/A6-client-retries.md (pushback).
    """
    metadata = [("x-request-id", request_id), ("error-code", error.code)]
    wait = error.headers.get("Retry-After")
    if wait is not None:
        metadata.append(("retry-after", wait))
        if wait.isdigit():
            metadata.append(("grpc-retry-pushback-ms", str(int(wait) * 1000)))
    return tuple(metadata)
