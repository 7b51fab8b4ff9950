"""One request and its answer: what is known about it apart from its content."""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import Response

from slipway_runtime.protocol.errors import ApiError
from slipway_runtime.protocol.jsontext import render

SCOPE_KEY: Final = "slipway.exchange"


@dataclass
class Exchange:
    request_id: str
    protocol: str = "other"
    """v2 or predict once it is clear that the request is a prediction."""
    reason: str = "ok"
    """The error's code, or ok."""
    status: int = 0
    recorded: bool = False
    """By whoever answered it, so that it is not counted again."""
    started_seconds: float = field(default_factory=time.perf_counter)


def exchange_of(scope: MutableMapping[str, Any]) -> Exchange:
    exchange: Exchange = scope[SCOPE_KEY]
    return exchange


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(render(content), status, headers, media_type="application/json")


def error_response(error: ApiError, exchange: Exchange, model: str) -> Response:
    exchange.reason = error.code
    body = error.body(request_id=exchange.request_id, model=model)
    return json_response(body, error.status, error.headers)
