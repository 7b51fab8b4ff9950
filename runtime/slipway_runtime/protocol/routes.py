"""Which codec speaks on which path. Every other path belongs to the application."""

from __future__ import annotations

from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.codec import Codec
from slipway_runtime.protocol.jsontext import MAX_DEPTH
from slipway_runtime.protocol.paths import protocols_for
from slipway_runtime.protocol.predict import PredictCodec
from slipway_runtime.protocol.v1 import V1Codec
from slipway_runtime.protocol.v2 import V2Codec


def codecs_for(name: str, signature: Signature, *, max_json_depth: int = MAX_DEPTH) -> dict[bytes, Codec]:
    """Paths that take a POST with a prediction, without any prefix and not percent-encoded."""
    codecs: tuple[Codec, ...] = (
        V2Codec(name, signature, max_json_depth=max_json_depth),
        V1Codec(signature, max_json_depth=max_json_depth),
        PredictCodec(name, signature, max_json_depth=max_json_depth),
    )
    spoken = {codec.protocol: codec for codec in codecs}
    return {path.encode(): spoken[protocol] for path, protocol in protocols_for(name).items()}
