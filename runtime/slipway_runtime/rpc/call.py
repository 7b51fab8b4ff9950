"""One gRPC call: who makes it, may they, and what is recorded of it."""

from __future__ import annotations

from collections.abc import Mapping
from random import getrandbits
from typing import Any, Final

from slipway_runtime.http.auth import ApiKeys, presented_key
from slipway_runtime.protocol.errors import ApiError
from slipway_runtime.rpc.sockets import split_peer
from slipway_runtime.telemetry.record import RequestRecord

_REQUEST_ID_LIMIT: Final = 128
_NEVER_SECONDS: Final = 1e8
"""gRPC says a deadline that lies in the far future where there is none."""


Headers = Mapping[str, str | bytes]


def headers_of(context: Any) -> Headers:
    """The client's metadata; of a repeated key the last value."""
    return dict(context.invocation_metadata() or ())


def request_id_of(headers: Headers) -> str:
    """The client's own when it is printable and short, because it is echoed and logged."""
    given = headers.get("x-request-id")
    if isinstance(given, str) and 0 < len(given) <= _REQUEST_ID_LIMIT and given.isascii() and given.isprintable():
        return given
    return f"{getrandbits(128):032x}"


def peer_address(peer: str) -> str:
    """Without what is not the address."""
    ends = split_peer(peer)
    return peer if ends is None else ends[0]


def new_record(path: str, headers: Headers, context: Any) -> RequestRecord:
    return RequestRecord("other", "POST", path, peer_address(context.peer()), request_id_of(headers))


def check_key(keys: ApiKeys | None, headers: Headers) -> None:
    if keys is not None and not keys.allows(presented_key(_key_headers(headers))):
        raise ApiError(
            401, "unauthenticated", "An API key is needed: send authorization: Bearer KEY, or x-api-key: KEY."
        )


def seconds_left(context: Any) -> float | None:
    """Until the client's deadline (`grpc-timeout`); None where it has none."""
    left = context.time_remaining()
    return None if left is None or left > _NEVER_SECONDS else max(0.0, left)


def _key_headers(headers: Headers) -> dict[bytes, bytes]:
    return {
        name.encode(): value.encode() if isinstance(value, str) else value
        for name in ("authorization", "x-api-key")
        if (value := headers.get(name)) is not None
    }
