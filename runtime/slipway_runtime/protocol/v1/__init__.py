"""Version 1 of the inference protocol: TensorFlow Serving's REST interface, which KServe speaks as well."""

from slipway_runtime.protocol.v1.codec import V1Codec

__all__ = ["V1Codec"]
