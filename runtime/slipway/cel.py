"""Evaluate the CRD's own rules (`x-kubernetes-validations`) without a cluster. Pure.

The rules are the very strings that the API server evaluates; only the functions that Kubernetes adds to CEL are
supplied here. Source: Kubernetes, "Common Expression Language in Kubernetes", quantity, list and
string libraries.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final

import celpy
import lark
from celpy.adapter import json_to_cel
from celpy.celtypes import BoolType, IntType, StringType
from celpy.evaluation import CELEvalError, CELFunction, Context, Evaluator, Result

from slipway.problem import Path, Problem
from slipway.structural import Schema

_QUANTITY: Final = re.compile(r"^([-+]?[0-9.]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?$")
_RESERVED_NAME: Final = re.compile(r"\b__(namespace)__\b")
"""The API server writes a field that is called like a word of CEL in this way."""
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
    "max": max,
    "substring": lambda text, start, end: StringType(text[start:end]),
}


class _Evaluator(Evaluator):
    """With `||` and `&&` of the CEL specification: an operand that decides wins over an error in the other one.

    celpy lets the errors of `filter` and `map` pass by them.
    """

    def sub_evaluator(self, ast: lark.Tree[Any]) -> Evaluator:
        return _Evaluator(ast, activation=self.activation)

    def conditionalor(self, tree: lark.Tree[Any]) -> Result:
        return self._decide(tree, decisive=True)

    def conditionaland(self, tree: lark.Tree[Any]) -> Result:
        return self._decide(tree, decisive=False)

    def _decide(self, tree: lark.Tree[Any], decisive: bool) -> Result:
        value: Result = BoolType(not decisive)
        for operand in tree.children:
            try:
                given = self.visit(operand)
            except CELEvalError as error:
                given = error
            if isinstance(given, BoolType) and bool(given) is decisive:
                return given
            if not isinstance(value, CELEvalError):
                value = given
        return value


class _Runner(celpy.InterpretedRunner):
    def evaluate(self, context: Context) -> Any:
        return _Evaluator(ast=self.ast, activation=self.new_activation()).evaluate(context)


@lru_cache(maxsize=1)
def _environment() -> celpy.Environment:
    return celpy.Environment(runner_class=_Runner)


@lru_cache(maxsize=512)
def _program(expression: str) -> celpy.Runner:
    environment = _environment()
    names = _RESERVED_NAME.sub(r"\1", expression)
    return environment.program(environment.compile(names), functions=_FUNCTIONS)


def check_rules(schema: Schema, value: Any, broken: Collection[Path], path: Path = ()) -> Iterator[Problem]:
    """Problems found by the rules, innermost first.

    A rule is left out where `broken` holds a path at or below its value: what it says about a value of the wrong
    shape would only repeat what was said already. The API server leaves it out too.
    """
    inner = [problem for step, child, item in _children(schema, value) for problem in
             check_rules(child, item, broken, (*path, step))]  # fmt: skip
    yield from inner
    if any(found[: len(path)] == path for found in broken):
        return
    for rule in schema.get("x-kubernetes-validations", ()):
        try:
            text = _refusal(rule, value)
        except CELEvalError as error:
            # Refuses too, as on the API server; needless to say where an inner rule has told the cause.
            text = None if inner else f"the rule {rule['rule']} cannot be evaluated: {error.args[0]}"
        if text is not None:
            yield Problem((*path, *_relative(rule.get("fieldPath", ""))), text)


def _children(schema: Schema, value: Any) -> Iterator[tuple[str | int, Schema, Any]]:
    if isinstance(value, dict):
        further = schema.get("additionalProperties")
        for key, item in value.items():
            child = schema.get("properties", {}).get(key, further)
            if isinstance(child, Mapping):
                yield key, child, item
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield position, schema.get("items", {}), item


def _refusal(rule: Mapping[str, str], value: Any) -> str | None:
    """None when the rule holds."""
    context = {"self": json_to_cel(value)}
    if _program(rule["rule"]).evaluate(context):
        return None
    if "messageExpression" in rule:
        return str(_program(rule["messageExpression"]).evaluate(context))
    return rule.get("message", f"failed rule: {rule['rule']}")


def _relative(field_path: str) -> Path:
    return tuple(step for step in field_path.split(".") if step)
