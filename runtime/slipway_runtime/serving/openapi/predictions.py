"""The operations that predict: every content type that is taken, every form that is answered."""

from __future__ import annotations

import json
from typing import Any, Final

from slipway_runtime.contract import Datatype, TensorSpec
from slipway_runtime.models.signature import Signature
from slipway_runtime.serving.openapi.tensors import (
    Json,
    example_tensor,
    has_example,
    nested_example,
    nested_schema,
    tensor_schema,
    with_example,
)

_FILE: Final[Json] = {"type": "string", "format": "binary"}
_HEADERS: Final[list[Json]] = [
    {
        "name": "X-Request-Timeout-Ms",
        "in": "header",
        "schema": {"type": "integer", "minimum": 0},
        "description": "How long you will wait for the answer; 504 after that.",
    },
    {
        "name": "X-Priority",
        "in": "header",
        "schema": {"type": "integer", "minimum": 0},
        "description": "1 is served before others, 3 and more after them.",
    },
]


def infer_operation(signature: Signature) -> Json:
    binary = _file("JSON, then the bytes of the tensors; Inference-Header-Content-Length is the length of the JSON.")
    return _operation(
        "Predict, Open Inference Protocol",
        "infer",
        {"application/json": _v2_request(signature), "application/octet-stream": binary},
        {"application/json": {"schema": _v2_answer(signature)}, "application/octet-stream": {"schema": _FILE}},
    )


def v1_operation(signature: Signature) -> Json:
    inputs = {spec.name: nested_schema(spec) for spec in signature.inputs}
    examples = {spec.name: nested_example(spec) for spec in signature.inputs} if has_example(signature) else {}
    schema = {
        "oneOf": [
            {
                "type": "object",
                "required": ["inputs"],
                "properties": {"inputs": {"type": "object", "properties": inputs}},
            },
            {"type": "object", "required": ["instances"], "properties": {"instances": {"type": "array"}}},
        ]
    }
    answer = {"type": "object", "properties": {"outputs": {}, "predictions": {"type": "array"}}}
    return _operation(
        "Predict, version 1 (TensorFlow Serving, KServe)",
        "v1_predict",
        {"application/json": with_example(schema, signature, {"inputs": examples})},
        {"application/json": {"schema": answer}},
    )


def predict_operation(signature: Signature, *, takes_images: bool) -> Json:
    request = {"application/json": _nested_request(signature), "multipart/form-data": _form(signature)}
    if len(signature.inputs) == 1:
        request["application/x-npy"] = _file("An array in numpy's file format (`numpy.save`).")
        request["application/octet-stream"] = _file("The input's bytes: little endian, row-major.")
        if takes_images:
            image = {"image/*": _file("A PNG, JPEG, WebP, GIF or BMP image, resized to the input's size.")}
            # Swagger shows the first: without an example, a file to choose.
            request = {**request, **image} if has_example(signature) else {**image, **request}
    answer: Json = {"application/json": {"schema": _nested_answer(signature)}}
    if len(signature.outputs) == 1:
        if signature.outputs[0].datatype is not Datatype.BYTES:
            answer["application/x-npy"] = {"schema": _FILE}
        answer["application/octet-stream"] = {"schema": _FILE}
    return _operation("Predict, nested lists, arrays and files", "predict", request, answer)


def _operation(summary: str, operation_id: str, request: Json, answer: Json) -> Json:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "summary": summary,
        "operationId": operation_id,
        "tags": ["predict"],
        "parameters": _HEADERS,
        "requestBody": {"required": True, "content": request},
        "responses": {
            "200": {"description": "The prediction", "content": answer},
            "default": {"description": "Refused", "content": error},
        },
    }


def _file(description: str) -> Json:
    return {"schema": {**_FILE, "description": description}}


def _form(signature: Signature) -> Json:
    schema = {
        "type": "object",
        "required": [spec.name for spec in signature.inputs],
        "properties": {spec.name: _field(spec) for spec in signature.inputs},
        "description": "One part for each input: JSON text, or a file of any content type that is taken alone."
        " Several parts of one name are a batch.",
    }
    return with_example(schema, signature, {spec.name: json.dumps(nested_example(spec)) for spec in signature.inputs})


def _field(spec: TensorSpec) -> Json:
    return {"type": "string", "contentMediaType": "application/json", "description": f"{spec.datatype} {spec.shape}"}


def _v2_request(signature: Signature) -> Json:
    tensors = [tensor_schema(spec) for spec in signature.inputs]
    schema = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": {
                "type": "object",
                "properties": {
                    "priority": {"type": "integer", "minimum": 0},
                    "timeout": {"type": "integer", "minimum": 0, "description": "Microseconds"},
                    "binary_data_output": {"type": "boolean"},
                },
            },
            "inputs": {
                "type": "array",
                "minItems": len(tensors),
                "maxItems": len(tensors),
                "items": _one_of(tensors),
            },
            "outputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {
                        "name": {"type": "string", "enum": [spec.name for spec in signature.outputs]},
                        "parameters": {
                            "type": "object",
                            "properties": {
                                "binary_data": {"type": "boolean"},
                                "classification": {"type": "integer", "minimum": 0},
                            },
                        },
                    },
                },
            },
        },
    }
    return with_example(schema, signature, {"inputs": [example_tensor(spec) for spec in signature.inputs]})


def _v2_answer(signature: Signature) -> Json:
    return {
        "type": "object",
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": _one_of([tensor_schema(spec) for spec in signature.outputs])},
        },
    }


def _one_of(schemas: list[Json]) -> Any:
    return schemas[0] if len(schemas) == 1 else {"oneOf": schemas}


def _nested_request(signature: Signature) -> Json:
    schema = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "inputs": {
                "type": "object",
                "required": [spec.name for spec in signature.inputs],
                "properties": {spec.name: nested_schema(spec) for spec in signature.inputs},
            }
        },
    }
    return with_example(schema, signature, {"inputs": {spec.name: nested_example(spec) for spec in signature.inputs}})


def _nested_answer(signature: Signature) -> Json:
    outputs = {spec.name: nested_schema(spec) for spec in signature.outputs}
    return {
        "type": "object",
        "properties": {"model": {"type": "string"}, "outputs": {"type": "object", "properties": outputs}},
    }
