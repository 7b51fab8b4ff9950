"""What is answered about the server and its one model, in Triton's shapes where the protocol has none."""

from __future__ import annotations

from typing import Any, Final

from slipway_runtime.models.signature import Signature

MODEL_VERSION: Final = "1"
"""One runtime serves one revision, so there is one version; clients may name it or leave it out."""


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
