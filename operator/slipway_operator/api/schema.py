"""The base of every API model, and the words in which a model tells the CRD more than its types can.

Rules that types cannot say are CEL, written once beside the model: the API server evaluates them on admission and
`slipway validate` evaluates the same text without a cluster.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class ApiModel(BaseModel):
    """camelCase in manifests, snake_case in Python. Unknown keys are dropped, as the API server prunes them."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="ignore",
        use_attribute_docstrings=True,
        frozen=True,
    )


@dataclass(frozen=True)
class Rule:
    """One CEL rule (`x-kubernetes-validations`).

    `message` says what was given, what is expected and what to do; `{…}` in it holds a CEL expression of type string.
    The value is quoted although new API servers print it as well, because those before 1.34 print its type instead.
    """

    rule: str
    message: str
    reason: Literal["FieldValueInvalid", "FieldValueRequired", "FieldValueForbidden"] = "FieldValueInvalid"
    """Not FieldValueDuplicate: of that the API server prints the value in place of the message."""
    field_path: str | None = None
    """For a rule of an object: the field to blame, such as `.host`. The API server then prints no value of its own."""

    def as_schema(self) -> dict[str, Any]:
        schema = {"rule": self.rule, "messageExpression": self.message_expression(), "reason": self.reason}
        in_words = self.message.replace("got '{self}'", "got text with a line break")
        if in_words != self.message and "{" not in in_words:
            # An API server drops an expression's text that has a line break, and would show the rule alone.
            schema["message"] = in_words
        if self.field_path is not None:
            schema["fieldPath"] = self.field_path
        return schema

    def message_expression(self) -> str:
        texts_and_expressions = re.split(r"\{(.*?)\}", self.message)
        parts = [
            part if index % 2 else json.dumps(part, ensure_ascii=False)
            for index, part in enumerate(texts_and_expressions)
            if part
        ]
        return " + ".join(parts)


def number(expression: str, largest: int) -> str:
    """CEL for the text of a number from 0 to `largest`, digit by digit.

    The API server counts the text of `string(…)` of an integer as endless, and refuses a CRD that joins it to another.
    """
    powers = [10**exponent for exponent in range(len(str(largest)) - 1, 0, -1)]
    leading = [f"({expression} >= {power} ? {_digit(f'{expression} / {power}')} : '')" for power in powers]
    return " + ".join([*leading, _digit(expression)])


def _digit(expression: str) -> str:
    return f"'0123456789'.substring({expression} % 10, {expression} % 10 + 1)"


def rules(*items: Rule) -> dict[str, Any]:
    """For `json_schema_extra` of a model or a field."""
    return {"x-kubernetes-validations": [item.as_schema() for item in items]}


def list_map(*keys: str) -> dict[str, Any]:
    """For `json_schema_extra` of a list whose items have an identity, so that server-side apply merges it."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


def list_atomic() -> dict[str, Any]:
    """For `json_schema_extra` of a list that is replaced as a whole."""
    return {"x-kubernetes-list-type": "atomic"}


def list_set() -> dict[str, Any]:
    """For `json_schema_extra` of a list of scalars without repetition, whose order means nothing."""
    return {"x-kubernetes-list-type": "set"}


def map_atomic() -> dict[str, Any]:
    """For `json_schema_extra` of an object that is replaced as a whole, such as a reference."""
    return {"x-kubernetes-map-type": "atomic"}
