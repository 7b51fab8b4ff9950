"""Open Inference Protocol version 2 over REST, with its binary tensor data, classification and schedule policy
extensions.

Source: https://github.com/kserve/open-inference-protocol (REST) and Triton's documents of the extensions.
"""

from slipway_runtime.protocol.v2.codec import BINARY_HEADER, V2Codec
from slipway_runtime.protocol.v2.metadata import MODEL_VERSION

__all__ = ["BINARY_HEADER", "MODEL_VERSION", "V2Codec"]
