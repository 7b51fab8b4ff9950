"""JSON as the standard has it: UTF-8, no NaN, no Infinity, bounded nesting."""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

from slipway_runtime.protocol.errors import bad_request

_KINDS: Final[dict[type, str]] = {str: "string", list: "list", dict: "object"}


def parse_object(body: bytes) -> dict[str, Any]:
    content = parse(body)
    if not isinstance(content, dict):
        raise bad_request("invalid_json", f"The body is a JSON {kind_of(content)}, expected an object.")
    return content


def parse(body: bytes) -> Any:
    if not body:
        raise bad_request("invalid_json", "The body is empty, expected JSON.")
    try:
        return json.loads(body.decode(), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise bad_request("invalid_json", f"The body is not UTF-8 text at byte {error.start}.") from None
    except json.JSONDecodeError as error:
        raise bad_request(
            "invalid_json", f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except RecursionError:
        raise bad_request("invalid_json", "The body nests lists or objects too deeply.") from None
    except ValueError:  # an integer with more digits than Python converts
        raise bad_request("invalid_json", "The body holds a number with too many digits.") from None


def render(content: Any) -> bytes:
    """ASCII, so that lone surrogates in a name that a client sent cannot break the answer."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def kind_of(value: object) -> str:
    """JSON's word for a value that was parsed."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return _KINDS.get(type(value), type(value).__name__)


def _refuse_constant(token: str) -> NoReturn:
    raise bad_request("non_finite_json", f"The body holds {token}, which is not JSON. Expected finite numbers.")
