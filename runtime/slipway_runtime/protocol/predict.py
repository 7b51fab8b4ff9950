"""The codec of `/predict`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol import friendly
from slipway_runtime.protocol.codec import Buffer, Decoded, Headers, Payload
from slipway_runtime.protocol.jsontext import MAX_DEPTH, parse
from slipway_runtime.protocol.mediatypes import check_json
from slipway_runtime.protocol.wishes import read_headers

_CONTENT_TYPE: Final = b"content-type"


class PredictCodec:
    """For one model. Any thread may use it."""

    protocol = "predict"

    def __init__(self, name: str, signature: Signature, *, max_json_depth: int = MAX_DEPTH) -> None:
        self._name = name
        self._signature = signature
        self._max_depth = max_json_depth
        self._outputs = tuple(spec.name for spec in signature.outputs)

    def decode(self, headers: Headers, body: Buffer) -> Decoded:
        check_json(headers.get(_CONTENT_TYPE))
        inputs = friendly.decode_inputs(parse(body, self._max_depth), self._signature)
        decoded = Decoded(inputs, self._outputs)
        read_headers(headers, decoded)
        return decoded

    def encode(self, decoded: Decoded, outputs: Mapping[str, Array]) -> Payload:
        return Payload(b"application/json", [friendly.encode_answer(self._name, decoded, outputs, self._signature)])
