"""Where predictions are asked for."""

from __future__ import annotations

from slipway_runtime.protocol.v2.metadata import MODEL_VERSION


def protocols_for(name: str) -> dict[str, str]:
    """Paths that take a POST with a prediction, without any prefix and not percent-encoded, to their protocols."""
    return {
        f"/v2/models/{name}/infer": "v2",
        f"/v2/models/{name}/versions/{MODEL_VERSION}/infer": "v2",
        f"/v1/models/{name}:predict": "v1",
        f"/v1/models/{name}/versions/{MODEL_VERSION}:predict": "v1",
        "/predict": "predict",
        f"/models/{name}/predict": "predict",
    }
