"""What a client wishes beside its tensors: to be served earlier or later than others, and how long it will wait.

Headers on every path: `X-Priority` (0 usual, 1 most urgent, 2 as 0, 3 and more later) and `X-Request-Timeout-Ms`. The
Open Inference Protocol has the same as the parameters `priority` and `timeout` (in microseconds), which come first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from slipway_runtime.protocol.codec import Decoded, Headers
from slipway_runtime.protocol.errors import bad_request
from slipway_runtime.protocol.jsontext import shown

_PRIORITY: Final = b"x-priority"
_TIMEOUT: Final = b"x-request-timeout-ms"
_DIGITS: Final = 15
"""Longer numbers mean nothing as milliseconds or microseconds."""
_RULE: Final = f"a whole number of 0 or more, with at most {_DIGITS} digits"


def read_headers(headers: Headers, decoded: Decoded) -> None:
    """Fills in what the body left open. Raises `ApiError` for a header that is no whole number."""
    given = headers.get(_PRIORITY)
    if given is not None and decoded.priority == 0:
        decoded.priority = scheduler_priority(_whole("X-Priority", given))
    given = headers.get(_TIMEOUT)
    if given is not None and decoded.timeout_seconds is None:
        decoded.timeout_seconds = (_whole("X-Request-Timeout-Ms", given) / 1e3) or None


def read_parameters(parameters: Mapping[str, Any], decoded: Decoded) -> None:
    """The request's `parameters` in the Open Inference Protocol."""
    if not parameters:
        return
    decoded.priority = scheduler_priority(_parameter(parameters, "priority"))
    decoded.timeout_seconds = (_parameter(parameters, "timeout") / 1e6) or None


def scheduler_priority(level: int) -> int:
    """Of the protocol's levels, where 1 is the most urgent and 0 says nothing."""
    if level == 1:
        return 1
    return -1 if level > 2 else 0


def _parameter(parameters: Mapping[str, Any], name: str) -> int:
    value = parameters.get(name, 0)
    if type(value) is not int or not 0 <= value < 10**_DIGITS:
        raise bad_request("invalid_field", f"parameters of the request: {name} is {shown(value)!r}, expected {_RULE}.")
    return value


def _whole(name: str, value: bytes) -> int:
    value = value.strip()
    if not value.isdigit() or len(value) > _DIGITS:
        text = value[:40].decode("latin-1")
        raise bad_request("invalid_header", f"{name} is {text!r}, expected {_RULE}.")
    return int(value)
