"""All paths of one model."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from slipway_runtime.models.signature import Signature, describe_tensor
from slipway_runtime.protocol.predict.imageform import is_image_input
from slipway_runtime.serving.openapi.predictions import infer_operation, predict_operation, v1_operation
from slipway_runtime.serving.openapi.tensors import Json


def build_openapi(name: str, signature: Signature, version: str) -> Json:
    takes = "\n".join(f"- `{describe_tensor(spec)}`" for spec in signature.inputs)
    gives = "\n".join(f"- `{describe_tensor(spec)}`" for spec in signature.outputs)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": name,
            "version": version,
            "description": f"Takes (-1 is any size):\n\n{takes}\n\nGives:\n\n{gives}",
        },
        "paths": {**_predictions(name, signature), **_about(name)},
        "components": {"schemas": {"Error": _ERROR}},
    }


def _predictions(name: str, signature: Signature) -> Json:
    model = quote(name, safe="")
    takes_images = len(signature.inputs) == 1 and is_image_input(signature.inputs[0])
    return {
        "/predict": {"post": predict_operation(signature, takes_images=takes_images)},
        f"/v2/models/{model}/infer": {"post": infer_operation(signature)},
        f"/v1/models/{model}:predict": {"post": v1_operation(signature)},
    }


def _about(name: str) -> Json:
    model = f"/v2/models/{quote(name, safe='')}"
    return {
        model: {"get": _read("The model's inputs and outputs", "model_metadata")},
        f"{model}/ready": {"get": _read("Whether the model answers", "model_ready")},
        f"{model}/config": {"get": _read("How the model is served, in Triton's words", "model_config")},
        f"{model}/stats": {"get": _read("What became of the requests", "model_statistics")},
        f"/v1/models/{quote(name, safe='')}": {"get": _read("The model's state, version 1", "v1_status")},
        "/v2": {"get": _read("The server", "server_metadata")},
        "/v2/models": {"get": _read("The models", "models")},
        "/v2/repository/index": {"post": _read("The models and their states", "repository_index")},
        "/v2/health/live": {"get": _read("Whether the process lives", "live")},
        "/v2/health/ready": {"get": _read("Whether predictions are answered", "ready")},
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


def _read(summary: str, operation_id: str) -> Json:
    answer = {"description": "OK", "content": {"application/json": {"schema": {}}}}
    return {"summary": summary, "operationId": operation_id, "tags": ["about"], "responses": {"200": answer}}
