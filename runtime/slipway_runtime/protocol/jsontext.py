"""JSON as the standard has it: UTF-8, no NaN, no Infinity, no key twice, no half surrogate pairs, bounded nesting."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import chain
from typing import Any, Final, NoReturn

from slipway_runtime.protocol.codec import Buffer
from slipway_runtime.protocol.errors import ApiError, bad_request

MAX_DEPTH: Final = 64
"""Unless the configuration says otherwise."""

_KINDS: Final[dict[type, str]] = {str: "string", list: "list", dict: "object"}
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_object(body: Buffer, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    content = parse(body, max_depth)
    if not isinstance(content, dict):
        raise bad_request("invalid_json", f"The body is a JSON {kind_of(content)}, expected an object.")
    return content


def parse(body: Buffer, max_depth: int = MAX_DEPTH) -> Any:
    """Raises `ApiError` with the place and the rule."""
    if not len(body):
        raise bad_request("invalid_json", "The body is empty, expected JSON.")
    try:
        text = str(body, "utf-8")
        content = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise bad_request("invalid_json", f"The body is not UTF-8 text at byte {error.start}.") from None
    except json.JSONDecodeError as error:
        raise bad_request(
            "invalid_json", f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except RecursionError:
        raise _too_deep(max_depth) from None
    except ValueError:  # an integer with more digits than Python converts
        raise bad_request("invalid_json", "The body holds a number with too many digits.") from None
    if text.count("[") + text.count("{") > max_depth:  # most bodies cannot be too deep, which is quick to tell
        _check_depth(content, max_depth)
    if _SURROGATE.search(body):
        _check_surrogates(content)
    return content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Parsers differ in which of two values they take, so there is no right one."""
    content = dict(pairs)
    if len(content) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise bad_request("invalid_json", f"The key {twice[:100]!r} appears twice in one object, expected it once.")
    return content


def _check_depth(content: Any, max_depth: int) -> None:
    level = _containers([content])
    for _ in range(max_depth):
        level = _containers(chain.from_iterable(part.values() if type(part) is dict else part for part in level))
        if not level:
            return
    raise _too_deep(max_depth)


def _containers(parts: Iterable[Any]) -> list[Any]:
    return [part for part in parts if type(part) is list or type(part) is dict]


def _check_surrogates(content: Any) -> None:
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start])
        raise bad_request(
            "invalid_json", f"A string holds {half}, half of a surrogate pair, which is no character."
        ) from None


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


def shown(value: object) -> str:
    """A value as the client wrote it, cut where it is long: strings bare, all else as JSON."""
    return (value if isinstance(value, str) else json.dumps(value))[:40]


def a_kind_of(value: object) -> str:
    """The same with its article, for a sentence."""
    kind = kind_of(value)
    return kind if value is None else f"an {kind}" if kind == "object" else f"a {kind}"


def _refuse_constant(token: str) -> NoReturn:
    raise bad_request("non_finite_json", f"The body holds {token}, which is not JSON. Expected finite numbers.")


def _too_deep(max_depth: int) -> ApiError:
    return bad_request("invalid_json", f"The body nests lists or objects more than {max_depth} deep (maxJsonDepth).")
