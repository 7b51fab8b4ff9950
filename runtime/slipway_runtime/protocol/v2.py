"""Open Inference Protocol version 2 over JSON: what a request must hold, and what is answered.

Source: https://github.com/kserve/open-inference-protocol (REST). The binary tensor extension is not spoken, is not
announced, and is refused where a client would otherwise read a wrong answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from slipway_runtime.contract import Datatype, TensorSpec
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.errors import bad_request
from slipway_runtime.protocol.jsontext import kind_of
from slipway_runtime.protocol.tensors import (
    check_batch,
    check_complete,
    check_shape,
    decode_tensor,
    encode_tensor,
    find_input,
)

MODEL_VERSION: Final = "1"
"""One runtime serves one revision, so there is one version; clients may name it or leave it out."""
BINARY_HEADER: Final = "inference-header-content-length"

_NO_BINARY: Final = "The binary tensor extension is not supported. Send the values as JSON in 'data'"
_SHARED_MEMORY: Final = "shared_memory_region"
_MAX_DIMENSIONS: Final = 16
_MAX_SIZE: Final = 2**63 - 1


@dataclass(frozen=True)
class InferRequest:
    inputs: dict[str, Array]
    outputs: tuple[str, ...]
    """The outputs to answer with, in this order."""
    id: str | None


def decode_request(content: Mapping[str, Any], signature: Signature) -> InferRequest:
    request_id = content.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise bad_request("invalid_field", f"id is a {kind_of(request_id)}, expected a string.")
    _parameters(content, "the request")
    inputs = _decode_inputs(content, signature)
    return InferRequest(inputs, _requested_outputs(content, signature), request_id)


def _decode_inputs(content: Mapping[str, Any], signature: Signature) -> dict[str, Array]:
    given = content.get("inputs")
    if not isinstance(given, list) or not given:
        got = "is missing" if given is None else "is empty" if given == [] else f"is a {kind_of(given)}"
        raise bad_request("missing_field", f"'inputs' {got}, expected a list with: {signature.describe()}.")
    arrays: dict[str, Array] = {}
    for position, tensor in enumerate(given):
        if not isinstance(tensor, dict):
            raise bad_request("invalid_field", f"inputs[{position}] is a {kind_of(tensor)}, expected an object.")
        spec = find_input(signature, tensor.get("name"))
        if spec.name in arrays:
            raise bad_request("duplicate_input", f"Input {spec.name!r} is given twice.", input=spec.name)
        arrays[spec.name] = _decode_input(tensor, spec)
    check_complete(signature, arrays)
    check_batch(signature, arrays)
    return arrays


def _decode_input(tensor: Mapping[str, Any], spec: TensorSpec) -> Array:
    name = spec.name
    parameters = _parameters(tensor, f"input {name!r}")
    if "binary_data_size" in parameters:
        raise bad_request(
            "not_supported",
            f"Input {name!r} has binary_data_size. {_NO_BINARY} (tritonclient: binary_data=False).",
            input=name,
        )
    if _SHARED_MEMORY in parameters:
        raise bad_request(
            "not_supported", f"Input {name!r} names a shared memory region, which is not supported.", input=name
        )
    datatype = tensor.get("datatype")
    if datatype not in Datatype.__members__:
        raise bad_request(
            "unknown_datatype",
            f"Input {name!r}: got datatype {str(datatype)[:40]!r}, expected one of {', '.join(Datatype)}.",
            input=name,
        )
    if datatype != spec.datatype:
        raise bad_request(
            "datatype_mismatch",
            f"Input {name!r} has the datatype {datatype}, expected {spec.datatype}.",
            input=name,
            expected=str(spec.datatype),
            got=datatype,
        )
    shape = _decode_shape(name, tensor.get("shape"))
    check_shape(spec, shape)
    if "data" not in tensor:
        raise bad_request("missing_field", f"Input {name!r} has no 'data'.", input=name)
    return decode_tensor(spec, shape, tensor["data"])


def _decode_shape(name: str, shape: object) -> list[int]:
    rule = f"expected a list of at most {_MAX_DIMENSIONS} integers of 0 or more"
    if not isinstance(shape, list):
        raise bad_request("invalid_field", f"Input {name!r}: shape is a {kind_of(shape)}, {rule}.", input=name)
    if len(shape) > _MAX_DIMENSIONS:
        raise bad_request("invalid_field", f"Input {name!r}: shape has {len(shape)} dimensions, {rule}.", input=name)
    for size in shape:
        if type(size) is not int or not 0 <= size <= _MAX_SIZE:
            raise bad_request("invalid_field", f"Input {name!r}: shape holds {str(size)[:40]!r}, {rule}.", input=name)
    return shape


def _requested_outputs(content: Mapping[str, Any], signature: Signature) -> tuple[str, ...]:
    known = tuple(spec.name for spec in signature.outputs)
    given = content.get("outputs")
    if given is None or given == []:
        return known
    if not isinstance(given, list):
        raise bad_request("invalid_field", f"'outputs' is a {kind_of(given)}, expected a list.")
    names: list[str] = []
    for position, output in enumerate(given):
        name = output.get("name") if isinstance(output, dict) else None
        if not isinstance(name, str):
            raise bad_request("invalid_field", f"outputs[{position}] has no 'name', expected an object with one.")
        if name not in known:
            raise bad_request("unknown_output", f"There is no output {name[:100]!r}. The model gives: {list(known)}.")
        if name in names:
            raise bad_request("duplicate_output", f"Output {name!r} is asked for twice.")
        parameters = _parameters(output, f"output {name!r}")
        for unsupported in ("classification", _SHARED_MEMORY):
            if parameters.get(unsupported):
                raise bad_request("not_supported", f"Output {name!r}: the parameter {unsupported!r} is not supported.")
        names.append(name)
    return tuple(names)


def _parameters(holder: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    parameters = holder.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise bad_request("invalid_field", f"parameters of {where}: got a {kind_of(parameters)}, expected an object.")
    return parameters


def encode_answer(
    model: str, request: InferRequest, outputs: Mapping[str, Array], signature: Signature
) -> dict[str, Any]:
    datatypes = {spec.name: spec.datatype for spec in signature.outputs}
    answer: dict[str, Any] = {"model_name": model, "model_version": MODEL_VERSION}
    if request.id is not None:
        answer["id"] = request.id
    tensors = []
    for name in request.outputs:
        array = outputs[name]
        data, finite = encode_tensor(array)
        tensor: dict[str, Any] = {"name": name, "datatype": datatypes[name], "shape": list(array.shape)}
        if not finite:
            tensor["parameters"] = {"non_finite": True}
        tensors.append({**tensor, "data": data})
    answer["outputs"] = tensors
    return answer


def model_metadata(model: str, platform: str, signature: Signature) -> dict[str, Any]:
    return {
        "name": model,
        "versions": [MODEL_VERSION],
        "platform": platform,
        "inputs": [spec.model_dump(mode="json") for spec in signature.inputs],
        "outputs": [spec.model_dump(mode="json") for spec in signature.outputs],
    }


def server_metadata(version: str) -> dict[str, Any]:
    return {"name": "slipway", "version": version, "extensions": []}
