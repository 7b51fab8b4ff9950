"""Bytes in version 1's JSON: objects `{"b64": "..."}`."""

from __future__ import annotations

import binascii
import math
from base64 import b64decode, b64encode
from typing import Any, Final

import numpy as np

from slipway_runtime.contract import Datatype, TensorSpec
from slipway_runtime.models.datatypes import BYTES_ARRAY, Array
from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.errors import bad_request
from slipway_runtime.protocol.jsontext import a_kind_of
from slipway_runtime.protocol.raw import decode_raw

_KEY: Final = "b64"
_BYTES_SUFFIX: Final = "_bytes"
"""TensorFlow Serving's convention: outputs of such a name are bytes and not text."""


def expand_base64(value: Any, signature: Signature) -> Any:
    """The value with the bytes, or the lists of numbers, that its objects stand for."""
    specs = {spec.name: spec for spec in signature.inputs}
    only = signature.inputs[0] if len(signature.inputs) == 1 else None
    return _expand(value, only, specs, signature.batched)


def _expand(value: Any, spec: TensorSpec | None, specs: dict[str, TensorSpec], batched: bool) -> Any:
    if isinstance(value, list):
        return [_expand(part, spec, specs, batched) for part in value]
    if not isinstance(value, dict):
        return value
    if set(value) != {_KEY}:
        return {name: _expand(part, specs.get(name, spec), specs, batched) for name, part in value.items()}
    if spec is None:
        raise bad_request("missing_input", "A base64 object stands alone, but the model takes several inputs: name it.")
    data = _decode(spec.name, value[_KEY])
    return data if spec.datatype is Datatype.BYTES else _item(spec, data, batched)


def _decode(name: str, text: object) -> bytes:
    if not isinstance(text, str):
        raise bad_request("invalid_data", f"Input {name!r}: b64 is {a_kind_of(text)}, expected a string.", input=name)
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise bad_request("invalid_data", f"Input {name!r}: b64 is not base64: {error}.", input=name) from None


def _item(spec: TensorSpec, data: bytes, batched: bool) -> Any:
    shape = spec.shape[1:] if batched else list(spec.shape)
    if -1 in shape or not math.prod(shape):
        raise bad_request(
            "not_supported",
            f"Input {spec.name!r} leaves sizes of an item open ({spec.shape}), which bytes do not tell. Send lists.",
            input=spec.name,
        )
    if spec.datatype is Datatype.BF16:
        raise bad_request("not_supported", f"Input {spec.name!r} is BF16, which is not taken as base64. Send numbers.")
    item = decode_raw(spec, shape, data)
    if item.dtype.kind == "f" and not np.isfinite(item).all():
        raise bad_request(
            "invalid_data", f"Input {spec.name!r}: b64 holds numbers that are not finite.", input=spec.name
        )
    return item.tolist()


def pack_bytes(name: str, array: Array) -> Array:
    """BYTES as what JSON can hold: text, or base64 objects where the name asks for them or an element is no text."""
    packed = np.empty(array.shape, BYTES_ARRAY)
    as_text = not name.endswith(_BYTES_SUFFIX)
    for position, element in np.ndenumerate(array):
        packed[position] = _text_of(element) if as_text else _base64_of(element)
    return packed


def _text_of(element: bytes) -> Any:
    try:
        return element.decode()
    except UnicodeDecodeError:
        return _base64_of(element)


def _base64_of(element: bytes) -> dict[str, str]:
    return {_KEY: b64encode(element).decode()}
