"""Evaluate the CRD's own rules (`x-kubernetes-validations`) without a cluster. Pure.

The rules are the very strings that the API server evaluates; only the functions that Kubernetes adds to CEL are
supplied here. Source: Kubernetes, "Common Expression Language in Kubernetes", library `quantity`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final

import celpy
from celpy.adapter import json_to_cel
from celpy.celtypes import BoolType, IntType, StringType
from celpy.evaluation import CELEvalError, CELFunction

from slipway.problem import Path, Problem
from slipway.structural import Schema

_QUANTITY: Final = re.compile(r"^([-+]?[0-9.]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?$")
_SUFFIXES: Final = {
    "": Decimal(1),
    **{suffix: Decimal(10) ** power for suffix, power in zip("num", (-9, -6, -3), strict=True)},
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
}


class Quantity(StringType):
    """A resource quantity; compares by value, so that 1000m equals 1."""

    @property
    def amount(self) -> Decimal:
        match = _QUANTITY.match(self)
        if match is None:
            raise ValueError(f"'{self}' is no quantity")
        number, suffix = match.groups(default="")
        try:
            scale = Decimal(f"1{suffix}") if suffix[:1] in ("e", "E") and len(suffix) > 1 and suffix != "Ei" else None
            return Decimal(number) * (scale or _SUFFIXES[suffix])
        except InvalidOperation as error:
            raise ValueError(f"'{self}' is no quantity") from error


def _quantity(text: StringType) -> Quantity:
    parsed = Quantity(text)
    _ = parsed.amount
    return parsed


def _is_quantity(text: StringType) -> BoolType:
    try:
        _quantity(text)
    except ValueError:
        return BoolType(False)
    return BoolType(True)


def _compare_to(left: Quantity, right: Quantity) -> IntType:
    return IntType((left.amount > right.amount) - (left.amount < right.amount))


_FUNCTIONS: Final[dict[str, CELFunction]] = {
    "quantity": _quantity,
    "isQuantity": _is_quantity,
    "compareTo": _compare_to,
    "isLessThan": lambda left, right: BoolType(left.amount < right.amount),
    "isGreaterThan": lambda left, right: BoolType(left.amount > right.amount),
}


@lru_cache(maxsize=1)
def _environment() -> celpy.Environment:
    return celpy.Environment()


@lru_cache(maxsize=512)
def _program(expression: str) -> celpy.Runner:
    environment = _environment()
    return environment.program(environment.compile(expression), functions=_FUNCTIONS)


def check_rules(schema: Schema, value: Any, broken: Collection[Path], path: Path = ()) -> Iterator[Problem]:
    """Problems found by the rules, outermost first.

    A rule is left out where `broken` holds a path at or below its value: what it says about a value of the wrong
    shape would only repeat what was said already. The API server leaves it out too.
    """
    if not any(found[: len(path)] == path for found in broken):
        for rule in schema.get("x-kubernetes-validations", ()):
            text = _refusal(rule, value)
            if text is not None:
                yield Problem((*path, *_relative(rule.get("fieldPath", ""))), text)
    if isinstance(value, dict):
        further = schema.get("additionalProperties")
        for key, item in value.items():
            child = schema.get("properties", {}).get(key, further)
            if isinstance(child, Mapping):
                yield from check_rules(child, item, broken, (*path, key))
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from check_rules(schema.get("items", {}), item, broken, (*path, position))


def _refusal(rule: Mapping[str, str], value: Any) -> str | None:
    """None when the rule holds. A rule that cannot be evaluated refuses, as on the API server."""
    context = {"self": json_to_cel(value)}
    try:
        if _program(rule["rule"]).evaluate(context):
            return None
        if "messageExpression" in rule:
            return str(_program(rule["messageExpression"]).evaluate(context))
    except CELEvalError as error:
        return f"the rule {rule['rule']} cannot be evaluated: {error.args[0]}"
    return rule.get("message", f"failed rule: {rule['rule']}")


def _relative(field_path: str) -> Path:
    return tuple(step for step in field_path.split(".") if step)
