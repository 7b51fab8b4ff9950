"""Which codec speaks on which path. Every other path belongs to the application."""

from __future__ import annotations

from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.codec import Codec
from slipway_runtime.protocol.jsontext import MAX_DEPTH
from slipway_runtime.protocol.predict import PredictCodec
from slipway_runtime.protocol.v1 import V1Codec
from slipway_runtime.protocol.v2 import MODEL_VERSION, V2Codec


def codecs_for(name: str, signature: Signature, *, max_json_depth: int = MAX_DEPTH) -> dict[bytes, Codec]:
    """Paths that take a POST with a prediction, without any prefix and not percent-encoded."""
    v2 = V2Codec(name, signature, max_json_depth=max_json_depth)
    v1 = V1Codec(signature, max_json_depth=max_json_depth)
    predict = PredictCodec(name, signature, max_json_depth=max_json_depth)
    codecs: dict[str, Codec] = {
        f"/v2/models/{name}/infer": v2,
        f"/v2/models/{name}/versions/{MODEL_VERSION}/infer": v2,
        f"/v1/models/{name}:predict": v1,
        f"/v1/models/{name}/versions/{MODEL_VERSION}:predict": v1,
        "/predict": predict,
        f"/models/{name}/predict": predict,
    }
    return {path.encode(): codec for path, codec in codecs.items()}
