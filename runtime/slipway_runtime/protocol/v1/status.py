"""`GET /v1/models/{model}`: TensorFlow Serving's answer and KServe's in one."""

from __future__ import annotations

from typing import Any

from slipway_runtime.protocol.v2.metadata import MODEL_VERSION


def model_status(model: str, ready: bool) -> dict[str, Any]:
    return {
        "name": model,
        "ready": ready,
        "model_version_status": [
            {
                "version": MODEL_VERSION,
                "state": "AVAILABLE" if ready else "UNLOADING",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ],
    }
