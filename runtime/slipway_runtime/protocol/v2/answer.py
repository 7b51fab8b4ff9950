"""Outputs to an answer's body: JSON written piece by piece, raw tensors behind it as they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
import orjson

from slipway_runtime.contract import Datatype, TensorSpec
from slipway_runtime.models import bfloat16
from slipway_runtime.models.datatypes import BYTES_ARRAY, Array
from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.codec import Buffer, Decoded, Payload
from slipway_runtime.protocol.raw import encode_raw
from slipway_runtime.protocol.tensors import dump_array, has_null, to_json_values
from slipway_runtime.protocol.v2.form import Form, OutputForm
from slipway_runtime.protocol.v2.metadata import MODEL_VERSION

_JSON: Final = b"application/json"
_BINARY: Final = b"application/octet-stream"
_LENGTH_HEADER: Final = b"Inference-Header-Content-Length"


class AnswerWriter:
    """For one model; what is the same in every answer is rendered once."""

    def __init__(self, name: str, signature: Signature) -> None:
        self._start = orjson.dumps({"model_name": name, "model_version": MODEL_VERSION})[:-1]
        self._specs = {spec.name: spec for spec in signature.outputs}
        self._heads = {spec.name: _head(spec.name, spec.datatype) for spec in signature.outputs}

    def write(self, decoded: Decoded, outputs: Mapping[str, Array]) -> Payload:
        forms: Form = decoded.form
        if forms is None:
            tensors = [self._json_tensor(name, outputs[name]) for name in decoded.outputs]
            return Payload(_JSON, [self._join(decoded.id, tensors)])
        raw: list[Buffer] = []
        tensors = [
            self._formed_tensor(name, outputs[name], form, raw)
            for name, form in zip(decoded.outputs, forms, strict=True)
        ]
        text = self._join(decoded.id, tensors)
        if not any(form.binary for form in forms):
            return Payload(_JSON, [text])
        headers = [(_LENGTH_HEADER, str(len(text)).encode())]
        return Payload(_BINARY, [text, *(part for part in raw if len(part))], headers)

    def _join(self, request_id: str | None, tensors: list[bytes]) -> bytes:
        written_id = b"" if request_id is None else b',"id":' + orjson.dumps(request_id)
        return b"".join((self._start, written_id, b',"outputs":[', b",".join(tensors), b"]}"))

    def _json_tensor(self, name: str, array: Array) -> bytes:
        values = to_json_values(self._specs[name], array)
        return _tensor(self._heads[name], array.shape, values)

    def _formed_tensor(self, name: str, array: Array, form: OutputForm, raw: list[Buffer]) -> bytes:
        spec, head = self._specs[name], self._heads[name]
        datatype = spec.datatype
        if form.classes:
            array, datatype, head = classify(spec, array, form.classes), Datatype.BYTES, _head(name, Datatype.BYTES)
        if not form.binary:
            values = to_json_values(spec.model_copy(update={"datatype": datatype}), array)
            return _tensor(head, array.shape, values)
        data = encode_raw(datatype, array)
        raw.append(data)
        return b'%s%s,"parameters":{"binary_data_size":%d}}' % (head, orjson.dumps(array.shape), len(data))


def _head(name: str, datatype: Datatype) -> bytes:
    return b'{"name":%s,"datatype":"%s","shape":' % (orjson.dumps(name), datatype.encode())


def _tensor(head: bytes, shape: tuple[int, ...], values: Array) -> bytes:
    data = dump_array(values.reshape(-1))
    mark = b',"parameters":{"non_finite":true}' if has_null(values, data) else b""
    return b'%s%s%s,"data":%s}' % (head, orjson.dumps(shape), mark, data)


def classify(spec: TensorSpec, array: Array, count: int) -> Array:
    """The greatest values as "value:index", the greatest first, of equals the first; of every item of a batch."""
    values = bfloat16.from_bits(array) if spec.datatype is Datatype.BF16 else array
    batched = values.ndim > 1 and spec.shape[0] == -1
    # Written out, as no size can be found for an array without elements.
    rows = values.reshape(values.shape[0], math.prod(values.shape[1:])) if batched else values.reshape(1, values.size)
    count = min(count, rows.shape[1])
    keys = np.where(np.isnan(rows), -np.inf, rows) if rows.dtype.kind == "f" else rows
    # Sorted backwards and read backwards, so that equal values keep their order.
    order = rows.shape[1] - 1 - np.argsort(keys[:, ::-1], axis=1, kind="stable")[:, ::-1][:, :count]
    classes = np.empty((rows.shape[0], count), BYTES_ARRAY)
    for row, positions in enumerate(order.tolist()):
        for rank, position in enumerate(positions):
            classes[row, rank] = f"{rows[row, position]}:{position}".encode()
    return classes if batched else classes[0]
