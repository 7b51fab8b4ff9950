"""Which codec speaks on which path. Every other path belongs to the application."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote_to_bytes

from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.codec import Codec
from slipway_runtime.protocol.jsontext import MAX_DEPTH
from slipway_runtime.protocol.predict import PredictCodec
from slipway_runtime.protocol.v1 import V1Codec
from slipway_runtime.protocol.v2 import MODEL_VERSION, V2Codec

_PERCENT: Final = b"%"


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


class InferenceRoutes:
    """`codecs_for`, asked with paths as they were sent."""

    def __init__(self, name: str, signature: Signature, *, max_json_depth: int = MAX_DEPTH) -> None:
        self._codecs = codecs_for(name, signature, max_json_depth=max_json_depth)

    def find(self, path: bytes) -> Codec | None:
        """`path` is without the prefix and the query; percent-encoded or not."""
        codec = self._codecs.get(path)
        if codec is None and _PERCENT in path:
            codec = self._codecs.get(unquote_to_bytes(path))
        return codec
