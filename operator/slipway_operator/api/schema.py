"""The base of every API model, and the words in which a model tells the CRD more than its types can.

Rules that span fields are CEL, written once beside the model: the API server evaluates them on admission and
`slipway validate` evaluates the same text without a cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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

    `message` is a CEL expression that yields the text, so that it can quote the value it refuses:
    where, what was given, what is expected, what to do.
    """

    rule: str
    message: str
    reason: str = "FieldValueInvalid"
    field_path: str | None = None

    def as_schema(self) -> dict[str, Any]:
        schema = {"rule": self.rule, "messageExpression": self.message, "reason": self.reason}
        if self.field_path is not None:
            schema["fieldPath"] = self.field_path
        return schema


def rules(*items: Rule) -> dict[str, Any]:
    """For `json_schema_extra` of a model or a field."""
    return {"x-kubernetes-validations": [item.as_schema() for item in items]}


def list_map(*keys: str) -> dict[str, Any]:
    """For `json_schema_extra` of a list whose items have an identity, so that server-side apply merges it."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


def list_atomic() -> dict[str, Any]:
    """For `json_schema_extra` of a list that is replaced as a whole."""
    return {"x-kubernetes-list-type": "atomic"}
