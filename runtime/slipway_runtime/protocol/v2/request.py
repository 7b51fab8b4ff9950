"""The JSON of a request and the raw tensors behind it, checked part by part: whatever does not fit is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from slipway_runtime.contract import Datatype, TensorSpec
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.codec import Decoded
from slipway_runtime.protocol.errors import ApiError, bad_request
from slipway_runtime.protocol.jsontext import a_kind_of, shown
from slipway_runtime.protocol.raw import decode_raw
from slipway_runtime.protocol.tensors import check_batch, check_complete, check_shape, decode_tensor, find_input
from slipway_runtime.protocol.v2.outputs import read_outputs
from slipway_runtime.protocol.wishes import read_parameters

BINARY_SIZE: Final = "binary_data_size"
SHARED_MEMORY: Final = "shared_memory_region"
_MAX_DIMENSIONS: Final = 16
_MAX_SIZE: Final = 2**63 - 1


class RawParts:
    """The bytes behind the JSON, taken from the front, one part for each input that has any."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._taken = 0

    def take(self, name: str, size: int) -> memoryview:
        left = len(self._data) - self._taken
        if size > left:
            raise bad_request(
                "size_mismatch",
                f"Input {name!r} has binary_data_size {size}, but {left} bytes are left of those behind the JSON.",
                input=name,
                expected=f"{size} bytes",
                got=f"{left} bytes",
            )
        self._taken += size
        return self._data[self._taken - size : self._taken]

    def check_empty(self) -> None:
        left = len(self._data) - self._taken
        if left:
            raise bad_request(
                "size_mismatch",
                f"{left} bytes are left behind the JSON once every input has its binary_data_size, expected none.",
            )


def decode_content(content: Mapping[str, Any], raw: memoryview, signature: Signature) -> Decoded:
    """`raw` is what follows the JSON in the body."""
    request_id = content.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise bad_request("invalid_field", f"id is {a_kind_of(request_id)}, expected a string.")
    parameters = parameters_of(content, "the request")
    parts = RawParts(raw)
    inputs = _decode_inputs(content, signature, parts)
    parts.check_empty()
    outputs, form = read_outputs(content.get("outputs"), parameters, signature)
    decoded = Decoded(inputs, outputs, request_id, form=form)
    read_parameters(parameters, decoded)
    return decoded


def _decode_inputs(content: Mapping[str, Any], signature: Signature, parts: RawParts) -> dict[str, Array]:
    given = content.get("inputs")
    if not isinstance(given, list) or not given:
        got = "is missing" if given is None else "is empty" if given == [] else f"is {a_kind_of(given)}"
        raise bad_request("missing_field", f"'inputs' {got}, expected a list with: {signature.describe()}.")
    arrays: dict[str, Array] = {}
    for position, tensor in enumerate(given):
        if not isinstance(tensor, dict):
            raise bad_request("invalid_field", f"inputs[{position}] is {a_kind_of(tensor)}, expected an object.")
        if not isinstance(tensor.get("name"), str):
            raise _unusable(f"inputs[{position}]", "name", "a string", tensor)
        spec = find_input(signature, tensor["name"])
        if spec.name in arrays:
            raise bad_request("duplicate_input", f"Input {spec.name!r} is given twice.", input=spec.name)
        arrays[spec.name] = _decode_input(tensor, spec, parts)
    check_complete(signature, arrays)
    check_batch(signature, arrays)
    return arrays


def _decode_input(tensor: Mapping[str, Any], spec: TensorSpec, parts: RawParts) -> Array:
    name = spec.name
    parameters = parameters_of(tensor, f"input {name!r}")
    if SHARED_MEMORY in parameters:
        raise bad_request(
            "not_supported",
            f"Input {name!r} names a shared memory region, which is not supported. Send the values in the request.",
            input=name,
        )
    for key, wanted in (("datatype", f"'{spec.datatype}'"), ("shape", f"a list that fits {list(spec.shape)}")):
        if key not in tensor:
            raise _unusable(f"Input {name!r}", key, wanted, tensor)
    _check_datatype(tensor["datatype"], spec)
    shape = _decode_shape(name, tensor["shape"])
    check_shape(spec, shape)
    if BINARY_SIZE in parameters:
        size = parameters[BINARY_SIZE]
        if "data" in tensor:
            raise bad_request(
                "invalid_field", f"Input {name!r} has both data and binary_data_size, expected one.", input=name
            )
        if type(size) is not int or size < 0:
            raise bad_request(
                "invalid_field",
                f"Input {name!r}: binary_data_size is {shown(size)!r}, expected a whole number of bytes.",
                input=name,
            )
        return decode_raw(spec, shape, parts.take(name, size))
    if "data" not in tensor:
        raise bad_request("missing_field", f"Input {name!r} has neither data nor binary_data_size.", input=name)
    return decode_tensor(spec, shape, tensor["data"])


def _unusable(where: str, key: str, wanted: str, tensor: Mapping[str, Any]) -> ApiError:
    if key in tensor:
        return bad_request("invalid_field", f"{where}: {key} is {a_kind_of(tensor[key])}, expected {wanted}.")
    return bad_request("missing_field", f"{where} has no {key!r}, expected {wanted}.")


def _check_datatype(datatype: object, spec: TensorSpec) -> None:
    if not isinstance(datatype, str) or datatype not in Datatype.__members__:
        raise bad_request(
            "unknown_datatype",
            f"Input {spec.name!r}: got datatype {shown(datatype)!r}, expected one of {', '.join(Datatype)}.",
            input=spec.name,
        )
    if datatype != spec.datatype:
        raise bad_request(
            "datatype_mismatch",
            f"Input {spec.name!r} has the datatype {datatype}, expected {spec.datatype}.",
            input=spec.name,
            expected=str(spec.datatype),
            got=datatype,
        )


def _decode_shape(name: str, shape: object) -> list[int]:
    rule = f"expected a list of at most {_MAX_DIMENSIONS} integers of 0 or more"
    if not isinstance(shape, list):
        raise _bad_shape(name, f"shape is {a_kind_of(shape)}, {rule}")
    if len(shape) > _MAX_DIMENSIONS:
        raise _bad_shape(name, f"shape has {len(shape)} dimensions, {rule}")
    for size in shape:
        if type(size) is not int or not 0 <= size <= _MAX_SIZE:
            raise _bad_shape(name, f"shape holds {shown(size)!r}, {rule}")
    return shape


def _bad_shape(name: str, message: str) -> ApiError:
    return bad_request("invalid_field", f"Input {name!r}: {message}.", input=name)


def parameters_of(holder: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    parameters = holder.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise bad_request("invalid_field", f"parameters of {where}: got {a_kind_of(parameters)}, expected an object.")
    return parameters
