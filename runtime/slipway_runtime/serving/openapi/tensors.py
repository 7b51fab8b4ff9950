"""Tensors as JSON schemas and as example values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from slipway_runtime.contract import Datatype, TensorSpec
from slipway_runtime.models.datatypes import FLOATS
from slipway_runtime.models.signature import Signature, describe_tensor

Json = dict[str, Any]

_EXAMPLE_VALUES: Final = 4096
"""An example with more values than this would make the page slow; the description says so instead."""
_KINDS: Final = {Datatype.BOOL: "boolean", Datatype.BYTES: "string"}


def value_schema(spec: TensorSpec) -> Json:
    return {"type": "number" if spec.datatype in FLOATS else _KINDS.get(spec.datatype, "integer")}


def nested_schema(spec: TensorSpec) -> Json:
    """Lists of lists, each with its number of elements where that is fixed. Of large tensors the least number is left
    out: Swagger makes an example of as many values, and the page stands still."""
    schema = value_schema(spec)
    large = _count(spec) > _EXAMPLE_VALUES
    for size in reversed(spec.shape):
        schema = {"type": "array", "items": schema}
        if size >= 0:
            schema |= {"maxItems": size} if large else {"minItems": size, "maxItems": size}
    return schema | {"description": f"`{describe_tensor(spec)}`, -1 is any size"}


def tensor_schema(spec: TensorSpec) -> Json:
    """A tensor of the Open Inference Protocol."""
    return {
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": {"const": spec.name},
            "datatype": {"const": str(spec.datatype)},
            "shape": {
                "type": "array",
                "items": {"type": "integer", "minimum": 0},
                "minItems": len(spec.shape),
                "maxItems": len(spec.shape),
                "description": f"{list(spec.shape)}, where -1 is any size",
            },
            "data": {"type": "array", "description": "Flat in row-major order, or nested."},
            "parameters": {"type": "object"},
        },
    }


def has_example(signature: Signature) -> bool:
    return sum(_count(spec) for spec in signature.inputs) <= _EXAMPLE_VALUES


def with_example(schema: Json, signature: Signature, example: Any) -> Json:
    if not has_example(signature):
        return {"schema": schema | {"description": "No example is shown, because one would hold thousands of values."}}
    return {"schema": schema, "example": example}


def example_tensor(spec: TensorSpec) -> Json:
    return {
        "name": spec.name,
        "datatype": str(spec.datatype),
        "shape": _sizes(spec.shape),
        "data": [_value(spec)] * _count(spec),
    }


def nested_example(spec: TensorSpec) -> Any:
    value: Any = _value(spec)
    for size in reversed(_sizes(spec.shape)):
        value = [value] * size
    return value


def _value(spec: TensorSpec) -> float | int | bool | str:
    if spec.datatype is Datatype.BOOL:
        return False
    if spec.datatype is Datatype.BYTES:
        return "text"
    return 0.5 if spec.datatype in FLOATS else 0


def _sizes(shape: Sequence[int]) -> list[int]:
    return [1 if size == -1 else size for size in shape]


def _count(spec: TensorSpec) -> int:
    count = 1
    for size in _sizes(spec.shape):
        count *= size
    return count
