"""`/predict`: the protocol for people. Nested lists, arrays, images and forms in; lists or arrays out."""

from slipway_runtime.protocol.predict.codec import PredictCodec

__all__ = ["PredictCodec"]
