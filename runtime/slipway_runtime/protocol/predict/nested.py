"""Inputs as nested lists by name, without element types and shapes to write down.

{"inputs": {"image": [[…]], "mask": [[…]]}}     every input by name, batch first
{"inputs": [[…]]}  or  [[…]]                    the same for a model with one input
{"instances": [{"image": […], "mask": […]}]}    one object per item, without the batch dimension
{"instances": [[…]]}                            the same for a model with one input
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slipway_runtime.contract import TensorSpec
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.errors import bad_request
from slipway_runtime.protocol.jsontext import a_kind_of
from slipway_runtime.protocol.tensors import (
    check_batch,
    check_complete,
    check_shape,
    decode_tensor,
    find_input,
)


def decode_inputs(content: object, signature: Signature) -> dict[str, Array]:
    """Raises `ApiError` 400 for what does not fit the model."""
    arrays = {
        name: decode_lists(find_input(signature, name), data) for name, data in _by_name(content, signature).items()
    }
    check_complete(signature, arrays)
    check_batch(signature, arrays)
    return arrays


def _by_name(content: object, signature: Signature) -> Mapping[str, Any]:
    if isinstance(content, list):
        return _only_input(content, signature, "The body is a list")
    if not isinstance(content, dict):
        raise bad_request("missing_field", f"The body is {a_kind_of(content)}, expected an object. {_forms(signature)}")
    given = [key for key in ("inputs", "instances") if key in content]
    if len(given) != 1:
        raise bad_request(
            "missing_field",
            f"Expected one of 'inputs' and 'instances', got {given or sorted(content)[:5]}. {_forms(signature)}",
        )
    value = content[given[0]]
    if _is_open_inference(value):
        raise bad_request(
            "invalid_field",
            "'inputs' has tensors of the Open Inference Protocol. Send them to /v2/models/{model}/infer, or here:"
            f" {_forms(signature)}",
        )
    if given == ["instances"]:
        return _stack(value, signature)
    if isinstance(value, dict):
        return value
    return _only_input(value, signature, "'inputs' is no object")


def _is_open_inference(value: object) -> bool:
    """Objects with values and a type, which are no values of an input themselves."""
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, dict) and {"name", "datatype", "shape"} <= set(first)


def _stack(instances: object, signature: Signature) -> Mapping[str, Any]:
    """Instances side by side: a list per input."""
    if not isinstance(instances, list) or not instances:
        got = "empty" if instances == [] else a_kind_of(instances)
        raise bad_request("missing_field", f"'instances' is {got}, expected a list with one per item.")
    if not any(isinstance(instance, dict) for instance in instances):
        return _only_input(instances, signature, "'instances' are no objects")
    first = instances[0]
    for position, instance in enumerate(instances):
        if not isinstance(instance, dict) or not isinstance(first, dict) or set(instance) != set(first):
            raise bad_request(
                "invalid_field", f"instances[{position}] has other names than instances[0], expected the same in each."
            )
    return {name: [instance[name] for instance in instances] for name in first}


def _only_input(value: object, signature: Signature, what: str) -> Mapping[str, Any]:
    if len(signature.inputs) != 1:
        raise bad_request(
            "missing_input", f"{what}, but the model takes several inputs: {signature.describe()}. {_forms(signature)}"
        )
    return {signature.inputs[0].name: value}


def decode_lists(spec: TensorSpec, data: object) -> Array:
    """One input, its shape found from the lists."""
    shape = _shape_of(data, len(spec.shape))
    check_shape(spec, shape)
    return decode_tensor(spec, shape, data)


def _shape_of(data: object, rank: int) -> list[int]:
    """Sizes along the first elements; at most one dimension more than expected, which is enough to tell."""
    shape: list[int] = []
    while isinstance(data, list) and len(shape) <= rank:
        shape.append(len(data))
        if not data:
            break
        data = data[0]
    return shape


def _forms(signature: Signature) -> str:
    names = ", ".join(f'"{spec.name}": […]' for spec in signature.inputs)
    return f'Expected {{"inputs": {{{names}}}}}.'
