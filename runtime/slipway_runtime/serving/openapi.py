"""The OpenAPI document of one model: its real inputs and outputs, with an example that the model answers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from slipway_runtime.contract import Datatype, TensorSpec
from slipway_runtime.models.signature import Signature, describe_tensor

_EXAMPLE_VALUES: Final = 4096
"""An example with more values than this would make the page slow; the description says so instead."""
_FLOATS: Final = frozenset({Datatype.FP16, Datatype.FP32, Datatype.FP64})

Json = dict[str, Any]


def build_openapi(name: str, signature: Signature, version: str) -> Json:
    takes = "\n".join(f"- `{describe_tensor(spec)}`" for spec in signature.inputs)
    gives = "\n".join(f"- `{describe_tensor(spec)}`" for spec in signature.outputs)
    infer = {
        "post": _operation("Predict, Open Inference Protocol", "infer", _v2_request(signature), _v2_answer(signature))
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": name,
            "version": version,
            "description": f"Takes (-1 is any size):\n\n{takes}\n\nGives:\n\n{gives}",
        },
        "paths": {
            "/predict": {
                "post": _operation(
                    "Predict, nested lists", "predict", _predict_request(signature), _predict_answer(signature)
                )
            },
            f"/v2/models/{name}/infer": infer,
            f"/v2/models/{name}": {"get": _read("The model's inputs and outputs", "model_metadata")},
            f"/v2/models/{name}/ready": {"get": _read("Whether the model answers", "model_ready")},
            "/v2": {"get": _read("The server", "server_metadata")},
            "/v2/health/live": {"get": _read("Whether the process lives", "live")},
            "/v2/health/ready": {"get": _read("Whether predictions are answered", "ready")},
        },
        "components": {"schemas": {"Error": _ERROR}},
    }


_ERROR: Final[Json] = {
    "type": "object",
    "required": ["error", "code", "request_id", "retryable"],
    "properties": {
        "error": {"type": "string", "description": "What is wrong, for people."},
        "code": {"type": "string", "description": "What is wrong, for programs."},
        "request_id": {"type": "string"},
        "model": {"type": "string"},
        "retryable": {"type": "boolean"},
        "details": {"type": "array", "items": {"type": "object"}},
    },
}


def _operation(summary: str, operation_id: str, request: Json, answer: Json) -> Json:
    error = {
        "description": "Refused",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    return {
        "summary": summary,
        "operationId": operation_id,
        "tags": ["predict"],
        "requestBody": {"required": True, "content": {"application/json": request}},
        "responses": {
            "200": {"description": "The prediction", "content": {"application/json": {"schema": answer}}},
            "default": error,
        },
    }


def _read(summary: str, operation_id: str) -> Json:
    answer = {"description": "OK", "content": {"application/json": {"schema": {"type": "object"}}}}
    return {"summary": summary, "operationId": operation_id, "tags": ["about"], "responses": {"200": answer}}


def _v2_request(signature: Signature) -> Json:
    tensors = [_tensor_schema(spec) for spec in signature.inputs]
    schema = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "inputs": {
                "type": "array",
                "minItems": len(tensors),
                "maxItems": len(tensors),
                "items": tensors[0] if len(tensors) == 1 else {"oneOf": tensors},
            },
            "outputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"type": "string", "enum": [spec.name for spec in signature.outputs]}},
                },
            },
        },
    }
    return _with_example(schema, signature, {"inputs": [_example_tensor(spec) for spec in signature.inputs]})


def _v2_answer(signature: Signature) -> Json:
    tensors = [_tensor_schema(spec) for spec in signature.outputs]
    return {
        "type": "object",
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": tensors[0] if len(tensors) == 1 else {"oneOf": tensors}},
        },
    }


def _tensor_schema(spec: TensorSpec) -> Json:
    return {
        "type": "object",
        "required": ["name", "datatype", "shape", "data"],
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
        },
    }


def _predict_request(signature: Signature) -> Json:
    schema = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "inputs": {
                "type": "object",
                "required": [spec.name for spec in signature.inputs],
                "properties": {spec.name: _nested_schema(spec) for spec in signature.inputs},
            }
        },
    }
    example = {spec.name: _nested_example(spec.shape, _example_value(spec)) for spec in signature.inputs}
    return _with_example(schema, signature, {"inputs": example})


def _predict_answer(signature: Signature) -> Json:
    outputs = {spec.name: _nested_schema(spec) for spec in signature.outputs}
    return {
        "type": "object",
        "properties": {"model": {"type": "string"}, "outputs": {"type": "object", "properties": outputs}},
    }


def _nested_schema(spec: TensorSpec) -> Json:
    if spec.datatype is Datatype.BOOL:
        schema: Json = {"type": "boolean"}
    else:
        schema = {"type": "number" if spec.datatype in _FLOATS else "integer"}
    for size in reversed(spec.shape):
        schema = {"type": "array", "items": schema}
        if size >= 0:
            schema |= {"minItems": size, "maxItems": size}
    return schema


def _with_example(schema: Json, signature: Signature, example: Json) -> Json:
    if sum(_count(spec) for spec in signature.inputs) > _EXAMPLE_VALUES:
        return {"schema": schema | {"description": "No example is shown, because one would hold thousands of values."}}
    return {"schema": schema, "example": example}


def _example_tensor(spec: TensorSpec) -> Json:
    shape = [1 if size == -1 else size for size in spec.shape]
    return {
        "name": spec.name,
        "datatype": str(spec.datatype),
        "shape": shape,
        "data": [_example_value(spec)] * _count(spec),
    }


def _example_value(spec: TensorSpec) -> float | int | bool:
    if spec.datatype is Datatype.BOOL:
        return False
    return 0.5 if spec.datatype in _FLOATS else 0


def _nested_example(shape: Sequence[int], value: Any) -> Any:
    for size in reversed(shape):
        value = [value] * (1 if size == -1 else size)
    return value


def _count(spec: TensorSpec) -> int:
    count = 1
    for size in spec.shape:
        count *= 1 if size == -1 else size
    return count
