"""A schema error in a user's words: what was given, what is expected, what to do. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from jsonschema import ValidationError

from slipway.problem import did_you_mean, quote

_FIELDS_SHOWN: Final = 8
_TYPE_NAMES: Final = {str: "a string", bool: "a boolean", int: "an integer", float: "a decimal number"}
_EXPECTED: Final = {
    "object": "an object",
    "array": "a list",
    "string": "a string",
    "boolean": "true or false",
    "integer": "an integer",
    "number": "a number",
}
_LOOKS_LIKE: Final = {
    "integer": re.compile(r"[-+]?\d+"),
    "number": re.compile(r"[-+]?\d+(\.\d*)?"),
    "boolean": re.compile(r"true|false", re.IGNORECASE),
}
"""Strings that would be of the expected type, were it not for their quotes."""


def explain(error: ValidationError) -> str:
    """The text after the path."""
    keyword, limit, given = str(error.validator), error.validator_value, error.instance
    if keyword == "required":
        return f"required and missing.{_purpose(error)}"
    if keyword == "type":
        return f"{_explain_type(str(limit), given)}{_fields_hint(error)}"
    if keyword in _EXPLANATIONS:
        return _EXPLANATIONS[keyword](limit, given)
    return error.message


def _explain_type(expected: str, given: Any) -> str:
    if given is None:
        return f"got nothing, expected {_EXPECTED[expected]}. Give it a value or remove the key."
    return f"got {_describe(given)}, expected {_EXPECTED[expected]}.{_type_hint(expected, given)}"


def _type_hint(expected: str, given: Any) -> str:
    if expected == "string":
        return _quotes_hint(given)
    if expected == "integer" and type(given) is int:
        return " It does not fit into 64 bits."
    if isinstance(given, str) and expected in _LOOKS_LIKE and _LOOKS_LIKE[expected].fullmatch(given):
        return " Remove the quotes."
    if expected == "array" and isinstance(given, dict):
        return " Begin each item with '- '."
    if expected == "object" and isinstance(given, list):
        return " Remove the '- ' before its keys."
    return ""


def _fields_hint(error: ValidationError) -> str:
    """For a single value where an object belongs: what the object has."""
    schema = error.schema if isinstance(error.schema, Mapping) else {}
    if error.validator_value != "object" or type(error.instance) not in _TYPE_NAMES or "properties" not in schema:
        return ""
    names = list(schema["properties"])
    return f" Its fields: {', '.join(names[:_FIELDS_SHOWN])}{', …' if len(names) > _FIELDS_SHOWN else ''}."


def _quotes_hint(given: Any) -> str:
    return " Put it into quotes." if isinstance(given, bool | int | float) else ""


def _describe(given: Any) -> str:
    return f"{quote(given)} ({_TYPE_NAMES[type(given)]})" if type(given) in _TYPE_NAMES else quote(given)


def _one_of(values: list[Any]) -> str:
    return str(values[0]) if len(values) == 1 else f"one of {', '.join(str(value) for value in values)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


_EXPLANATIONS: Final[dict[str, Callable[[Any, Any], str]]] = {
    "x-kubernetes-int-or-string": lambda _, given: (
        f"got {_describe(given)}, expected an integer or a string.{_quotes_hint(given)}"
    ),
    "enum": lambda allowed, given: f"got {quote(given)}, expected {_one_of(allowed)}.{did_you_mean(given, allowed)}",
    "minimum": lambda limit, given: f"got {given}, expected at least {limit}.",
    "maximum": lambda limit, given: f"got {given}, expected at most {limit}.",
    "minLength": lambda limit, given: f"got {quote(given)}, expected at least {_count(limit, 'character')}.",
    "maxLength": lambda limit, given: f"got {_count(len(given), 'character')}, expected at most {limit}. Shorten it.",
    "minItems": lambda limit, given: f"got {_count(len(given), 'item')}, expected at least {limit}.",
    "maxItems": lambda limit, given: f"got {_count(len(given), 'item')}, expected at most {limit}. Remove some.",
    "minProperties": lambda limit, given: f"got {_count(len(given), 'key')}, expected at least {limit}.",
    "maxProperties": lambda limit, given: f"got {_count(len(given), 'key')}, expected at most {limit}. Remove some.",
    "pattern": lambda pattern, given: f"got {quote(given)}, expected text that matches {pattern}",
}


def _purpose(error: ValidationError) -> str:
    """The missing field's own description, first sentence."""
    name = error.absolute_path[-1]
    schema = error.schema if isinstance(error.schema, Mapping) else {}
    described = str(schema.get("properties", {}).get(name, {}).get("description", "")).strip()
    first, _, _ = described.partition(". ")
    return f" Add {name}: {first.rstrip('.')}." if first else f" Add {name}."
