"""Check a value against the CRD's structural schema: unknown fields, defaults, types, bounds, list identities. Pure.

In the order of the API server: unknown fields are found and dropped, defaults are filled in, then the rest is checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, Final

from celpy.evaluation import base_functions
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from slipway.explanation import explain
from slipway.problem import Path, Problem, did_you_mean, quote

Schema = Mapping[str, Any]

_MATCHES_RE2: Final = base_functions["matches"]
_LIST_OF_NAMES_LIMIT: Final = 12
_INT64_LIMIT: Final = 2**63


def prune(schema: Schema, value: Any, path: Path = ()) -> Iterator[Problem]:
    """Drop unknown fields from `value` in place and name each."""
    if isinstance(value, list) and "items" in schema:
        for position, item in enumerate(value):
            yield from prune(schema["items"], item, (*path, position))
    if not isinstance(value, dict) or schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    known = schema.get("properties", {})
    further = schema.get("additionalProperties")
    for key in list(value):
        if key in known:
            yield from prune(known[key], value[key], (*path, key))
        elif isinstance(further, Mapping):
            yield from prune(further, value[key], (*path, key))
        elif known:
            del value[key]
            yield Problem((*path, key), f"unknown field.{did_you_mean(key, known) or _known_fields(known)}")


def _known_fields(known: Mapping[str, Any]) -> str:
    names = ", ".join(sorted(known)[:_LIST_OF_NAMES_LIMIT])
    return f" Known here: {names}{', …' if len(known) > _LIST_OF_NAMES_LIMIT else ''}."


def fill_defaults(schema: Schema, value: Any) -> None:
    """Fill in defaults in place. As on the API server, a null counts as absent where null is no value of the field."""
    if isinstance(value, list):
        for item in value:
            fill_defaults(schema.get("items", {}), item)
    if not isinstance(value, dict):
        return
    known, further = schema.get("properties", {}), schema.get("additionalProperties")
    for key in list(value):
        child = known.get(key, further)
        if value[key] is None and isinstance(child, Mapping) and not child.get("nullable"):
            del value[key]
        elif isinstance(child, Mapping):
            fill_defaults(child, value[key])
    for key, child in known.items():
        if key not in value and "default" in child:
            value[key] = deepcopy(child["default"])
            fill_defaults(child, value[key])


def check_structure(schema: Schema, value: Any, path: Path = ()) -> Iterator[Problem]:
    """Types, bounds, enums, patterns, required fields and repeated list items, in the order of the document."""
    for error in _StructuralValidator(schema).iter_errors(value):
        yield Problem((*path, *error.absolute_path), explain(error))
    yield from _find_repeated(schema, value, path)


def _find_repeated(schema: Schema, value: Any, path: Path) -> Iterator[Problem]:
    if isinstance(value, dict):
        further = schema.get("additionalProperties")
        for key, item in value.items():
            child = schema.get("properties", {}).get(key, further)
            if isinstance(child, Mapping):
                yield from _find_repeated(child, item, (*path, key))
    if not isinstance(value, list):
        return
    if schema.get("x-kubernetes-list-type") == "set":
        yield from _find_repeated_scalars(value, path)
    keys = schema.get("x-kubernetes-list-map-keys", [])
    first: dict[tuple[str, ...], int] = {}
    for position, item in enumerate(value):
        yield from _find_repeated(schema.get("items", {}), item, (*path, position))
        if keys and isinstance(item, dict) and all(key in item for key in keys):
            identity = tuple(str(item[key]) for key in keys)
            if identity in first:
                named = " and ".join(f"{key} {quote(item[key])}" for key in keys)
                text = f"repeats item [{first[identity]}] with {named}. Remove one of the two or rename it."
                yield Problem((*path, position), text)
            first.setdefault(identity, position)


def _find_repeated_scalars(value: list[Any], path: Path) -> Iterator[Problem]:
    for position, item in enumerate(value):
        if (first := value.index(item)) < position:
            yield Problem((*path, position), f"repeats item [{first}], {quote(item)}. Remove one of the two.")


def _check_type(validator: Any, expected: str, instance: Any, schema: Schema) -> Iterator[ValidationError]:
    if instance is None and schema.get("nullable"):
        return
    if not _is_type(validator, instance, expected):
        yield ValidationError("type")


def _is_type(validator: Any, instance: Any, expected: str) -> bool:
    """An integer beyond 64 bits is none to the API server."""
    if expected == "integer" and isinstance(instance, int) and not -_INT64_LIMIT <= instance < _INT64_LIMIT:
        return False
    return bool(validator.is_type(instance, expected))


def _check_int_or_string(validator: Any, enabled: bool, instance: Any, _: Schema) -> Iterator[ValidationError]:
    if enabled and not any(_is_type(validator, instance, expected) for expected in ("integer", "string")):
        yield ValidationError("type")


def _check_any_of(_validator: Any, _branches: Any, _instance: Any, schema: Schema) -> Iterator[ValidationError]:
    """The only anyOf of a structural schema of ours spells out int-or-string, which has its own check."""
    assert schema.get("x-kubernetes-int-or-string"), "the CRD uses anyOf for something else: teach it to this check"
    yield from ()


def _check_required(_validator: Any, required: list[str], instance: Any, _schema: Schema) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for name in required:
            if name not in instance:
                yield ValidationError("required", path=[name])


def _check_pattern(_validator: Any, pattern: str, instance: Any, _schema: Schema) -> Iterator[ValidationError]:
    """With RE2, as the API server: Python's `$` would let a line break at the end pass."""
    if isinstance(instance, str) and not _MATCHES_RE2(instance, pattern):
        yield ValidationError("pattern")


_StructuralValidator: Any = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {
        "type": _check_type,
        "x-kubernetes-int-or-string": _check_int_or_string,
        "anyOf": _check_any_of,
        "required": _check_required,
        "pattern": _check_pattern,
    },
)
