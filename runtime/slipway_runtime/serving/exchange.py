"""One request and its answer: what is known about it apart from its content."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Response

from slipway_runtime.http.exchange import Request
from slipway_runtime.protocol.errors import ApiError
from slipway_runtime.protocol.jsontext import render
from slipway_runtime.telemetry.record import RequestRecord

SCOPE_KEY: Final = "slipway.exchange"


@dataclass
class Exchange:
    record: RequestRecord
    recorded: bool = False
    """By whoever answered it, so that it is not counted again."""


def record_of(request: Request, protocol: str) -> RequestRecord:
    """Of a request that was answered before the application saw it."""
    return RequestRecord(
        protocol=protocol,
        method="POST",
        path=request.path.decode("latin-1"),
        client=request.client,
        request_id=request.request_id,
        bytes_in=len(request.body),
        started_at=request.started_at,
        read_seconds=request.received_at - request.started_at,
    )


def exchange_of(scope: MutableMapping[str, Any]) -> Exchange:
    exchange: Exchange = scope[SCOPE_KEY]
    return exchange


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(render(content), status, headers, media_type="application/json")


def error_response(error: ApiError, exchange: Exchange, model: str) -> Response:
    exchange.record.code = error.code
    body = error.body(request_id=exchange.record.request_id, model=model)
    return json_response(body, error.status, error.headers)
