"""The codec of `/v1/models/{model}:predict`.

Rows: `{"instances": [...]}` is answered with `{"predictions": [...]}`, one for each. Columns: `{"inputs": ...}` is
answered with `{"outputs": ...}`. A model with one output is answered with its values, one with several with objects by
name. Bytes are `{"b64": "..."}`: for BYTES an element, for other inputs the little-endian bytes of one item's tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from slipway_runtime.contract import Datatype, TensorSpec
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.codec import Buffer, Decoded, Headers, Payload
from slipway_runtime.protocol.errors import ApiError, bad_request
from slipway_runtime.protocol.fastjson import MIN_DEPTH
from slipway_runtime.protocol.jsontext import MAX_DEPTH, a_kind_of, kind_of, parse_object
from slipway_runtime.protocol.mediatypes import JSON, check_json
from slipway_runtime.protocol.nestedjson import NestedWriter
from slipway_runtime.protocol.predict.fast import FastNested
from slipway_runtime.protocol.predict.nested import decode_inputs
from slipway_runtime.protocol.v1.base64 import expand_base64, pack_bytes
from slipway_runtime.protocol.wishes import read_headers

_CONTENT_TYPE: Final = b"content-type"
_SIGNATURE: Final = "signature_name"
_SIGNATURES: Final = frozenset({"", "serving_default"})
_ROWS: Final = "instances"
_COLUMNS: Final = "inputs"


class V1Codec:
    """For one model. Any thread may use it."""

    protocol = "v1"

    def __init__(self, signature: Signature, *, max_json_depth: int = MAX_DEPTH) -> None:
        self._signature = signature
        self._max_depth = max_json_depth
        self._fast = FastNested(signature) if max_json_depth >= MIN_DEPTH else None
        self._outputs = tuple(spec.name for spec in signature.outputs)
        self._specs = {spec.name: spec for spec in signature.outputs}
        self._writer = NestedWriter(signature)

    def takes_long(self, headers: Headers) -> bool:
        return False

    def decode(self, headers: Headers, body: Buffer) -> Decoded:
        check_json(headers.get(_CONTENT_TYPE))
        found = self._fast.decode(body) if self._fast else None
        form, inputs = found if found and found[0] else self._decode_carefully(body)
        decoded = Decoded(inputs, self._outputs, form=form)
        read_headers(headers, decoded)
        return decoded

    def _decode_carefully(self, body: Buffer) -> tuple[str, dict[str, Array]]:
        content = parse_object(body, self._max_depth)
        _check_signature_name(content)
        given = [key for key in (_ROWS, _COLUMNS) if key in content]
        if len(given) != 1:
            raise bad_request(
                "missing_field", f"Expected one of 'instances' and 'inputs', got {given or sorted(content)[:5]}."
            )
        form = given[0]
        value = content[form]
        if form == _ROWS and not isinstance(value, list):
            raise bad_request("invalid_field", f"'instances' is {a_kind_of(value)}, expected a list with one per item.")
        if b'"b64"' in bytes(body):
            value = expand_base64(value, self._signature)
        return form, decode_inputs({form: value}, self._signature)

    def encode(self, decoded: Decoded, outputs: Mapping[str, Array]) -> Payload:
        outputs = {name: self._readable(self._specs[name], outputs[name]) for name in decoded.outputs}
        if decoded.form == _COLUMNS or len(outputs) == 1:
            return self._columns("outputs" if decoded.form == _COLUMNS else "predictions", decoded.outputs, outputs)
        return self._rows(decoded.outputs, outputs)

    def _columns(self, key: str, names: tuple[str, ...], outputs: Mapping[str, Array]) -> Payload:
        if len(names) == 1:
            text, marked = self._writer.value(names[0], outputs[names[0]])
            non_finite = [names[0]] if marked else []
        else:
            text, non_finite = self._writer.by_name(names, outputs)
        return Payload(JSON, [b'{"%s":%s%s}' % (key.encode(), text, self._writer.mark(non_finite))])

    def _rows(self, names: tuple[str, ...], outputs: Mapping[str, Array]) -> Payload:
        counts = {array.shape[:1] for array in outputs.values()}
        if len(counts) != 1 or counts == {()}:
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in outputs.items())
            raise ApiError(
                406,
                "not_acceptable",
                f"The outputs do not have one row for each instance ({shapes}). Ask with 'inputs'.",
            )
        parts = [self._writer.rows(name, outputs[name]) for name in names]
        rows = b",".join(b"{%s}" % b",".join(row) for row in zip(*(lines for lines, _ in parts), strict=True))
        non_finite = [name for name, (_, marked) in zip(names, parts, strict=True) if marked]
        return Payload(JSON, [b'{"predictions":[%s]%s}' % (rows, self._writer.mark(non_finite))])

    @staticmethod
    def _readable(spec: TensorSpec, array: Array) -> Array:
        return pack_bytes(spec.name, array) if spec.datatype is Datatype.BYTES else array


def _check_signature_name(content: Mapping[str, Any]) -> None:
    name = content.get(_SIGNATURE, "")
    if not isinstance(name, str) or name not in _SIGNATURES:
        shown = name[:100] if isinstance(name, str) else kind_of(name)
        raise bad_request("unknown_signature", f"signature_name is {shown!r}, expected 'serving_default' or none.")
