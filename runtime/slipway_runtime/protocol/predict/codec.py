"""The codec of `/predict`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from slipway_runtime.contract import Datatype
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.codec import Buffer, Decoded, Headers, Payload
from slipway_runtime.protocol.errors import ApiError, bad_request
from slipway_runtime.protocol.fastjson import MIN_DEPTH
from slipway_runtime.protocol.jsontext import MAX_DEPTH, parse
from slipway_runtime.protocol.mediatypes import JSON, OCTET_STREAM, choose_media_type, is_json, media_type
from slipway_runtime.protocol.nestedjson import NestedWriter
from slipway_runtime.protocol.predict.fast import FastNested
from slipway_runtime.protocol.predict.inputs import MULTIPART, decode_form, decode_input
from slipway_runtime.protocol.predict.nested import decode_inputs
from slipway_runtime.protocol.predict.npy import encode_npy
from slipway_runtime.protocol.raw import encode_raw
from slipway_runtime.protocol.wishes import read_headers

_CONTENT_TYPE: Final = b"content-type"
_ACCEPT: Final = b"accept"
_NPY: Final = b"application/x-npy"
_JSON_TYPES: Final = frozenset({b"", JSON, b"application/x-www-form-urlencoded"})
"""Form: what curl -d sends when it is told nothing."""
_NOT_TENSORS: Final = frozenset(
    {"invalid_json", "non_finite_json", "invalid_npy", "invalid_image", "invalid_multipart", "invalid_header"}
)
"""Codes of bodies that cannot be read at all, which is 400; one that can be read and does not fit is 422."""


class PredictCodec:
    """For one model. Any thread may use it."""

    protocol = "predict"

    def __init__(self, name: str, signature: Signature, *, max_json_depth: int = MAX_DEPTH) -> None:
        self._signature = signature
        self._max_depth = max_json_depth
        self._fast = FastNested(signature) if max_json_depth >= MIN_DEPTH else None
        self._outputs = tuple(spec.name for spec in signature.outputs)
        self._writer = NestedWriter(signature)
        self._start = b'{"model":%s,"outputs":' % self._writer.dump(name)
        self._offered = _offered(signature)

    def takes_long(self, headers: Headers) -> bool:
        name = media_type(headers.get(_CONTENT_TYPE))
        return name.startswith(b"image/") or name == MULTIPART

    def decode(self, headers: Headers, body: Buffer) -> Decoded:
        accept = headers.get(_ACCEPT)
        form = JSON if accept is None else self._choose_answer(accept)
        try:
            inputs = self._decode_inputs(headers.get(_CONTENT_TYPE, b""), body)
        except ApiError as error:
            if error.status == 400 and error.code not in _NOT_TENSORS:
                raise ApiError(422, error.code, error.message, details=error.details) from None
            raise
        decoded = Decoded(inputs, self._outputs, form=form)
        read_headers(headers, decoded)
        return decoded

    def _decode_inputs(self, content_type: bytes, body: Buffer) -> Mapping[str, Array]:
        name = media_type(content_type)
        if name in _JSON_TYPES or is_json(name):
            found = self._fast.decode(body) if self._fast else None
            return found[1] if found else decode_inputs(parse(body, self._max_depth), self._signature)
        if name == MULTIPART:
            return decode_form(content_type, body, self._signature, self._max_depth)
        if len(self._signature.inputs) != 1:
            raise bad_request(
                "missing_input",
                f"A body of {name[:100].decode('latin-1')} is one input, but the model takes several:"
                f" {self._signature.describe()}. Send them as multipart/form-data, a part for each, or as JSON.",
            )
        spec = self._signature.inputs[0]
        return {spec.name: decode_input(spec, name, body, self._signature.batched)}

    def _choose_answer(self, accept: bytes) -> bytes:
        chosen = choose_media_type(accept, self._offered)
        if chosen is None:
            offered = ", ".join(name.decode() for name in self._offered)
            raise ApiError(
                406,
                "not_acceptable",
                f"Got Accept {accept[:100].decode('latin-1')!r}, this model can answer with {offered}.",
            )
        return chosen

    def encode(self, decoded: Decoded, outputs: Mapping[str, Array]) -> Payload:
        if decoded.form is JSON:
            text, non_finite = self._writer.by_name(decoded.outputs, outputs)
            return Payload(JSON, [b"".join((self._start, text, self._writer.mark(non_finite), b"}"))])
        spec = self._signature.outputs[0]
        array = outputs[spec.name]
        if decoded.form is _NPY:
            return Payload(_NPY, encode_npy(spec.datatype, array))
        shape = ",".join(map(str, array.shape)).encode()
        headers = [(b"X-Tensor-Datatype", spec.datatype.encode()), (b"X-Tensor-Shape", shape)]
        return Payload(OCTET_STREAM, [encode_raw(spec.datatype, array)], headers)


def _offered(signature: Signature) -> tuple[bytes, ...]:
    """An array or raw bytes are one output, and numpy has no strings of any length without pickle."""
    if len(signature.outputs) != 1:
        return (JSON,)
    if signature.outputs[0].datatype is Datatype.BYTES:
        return (JSON, OCTET_STREAM)
    return (JSON, _NPY, OCTET_STREAM)
