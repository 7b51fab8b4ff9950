"""Tensors as raw bytes: little endian, row-major; BYTES elements each behind their length as a 32-bit number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from struct import Struct
from typing import Final

import numpy as np

from slipway_runtime.contract import Datatype, TensorSpec
from slipway_runtime.models.datatypes import BYTES_ARRAY, NUMPY, Array
from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.codec import Buffer
from slipway_runtime.protocol.errors import ApiError, bad_request

_LENGTH: Final = Struct("<I")


def decode_raw(spec: TensorSpec, shape: Sequence[int], data: Buffer) -> Array:
    """A view of `data`, except for BYTES. `shape` fits the spec. Raises `ApiError` when the sizes differ."""
    count = math.prod(shape)
    if spec.datatype is Datatype.BYTES:
        return _decode_bytes(spec.name, count, data).reshape(tuple(shape))
    dtype = NUMPY[spec.datatype]
    size = memoryview(data).nbytes
    if size != count * dtype.itemsize:
        raise bad_request(
            "size_mismatch",
            f"Input {spec.name!r} has {size} bytes, its shape {list(shape)} needs {count * dtype.itemsize}"
            f" ({count} values of {spec.datatype}).",
            input=spec.name,
            expected=f"{count * dtype.itemsize} bytes",
            got=f"{size} bytes",
        )
    if not size:
        return np.empty(tuple(shape), dtype)
    if spec.datatype is Datatype.BOOL:
        _check_bools(spec.name, data)
    return np.frombuffer(data, dtype).reshape(tuple(shape))


def _check_bools(name: str, data: Buffer) -> None:
    """Any other byte is neither true nor false to numpy and torch."""
    wrong = np.frombuffer(data, np.uint8) > 1
    if wrong.any():
        position = int(np.argmax(wrong))
        raise bad_request(
            "invalid_data",
            f"Input {name!r} is BOOL: byte {position} is {memoryview(data)[position]}, expected 0 or 1.",
            input=name,
        )


def _decode_bytes(name: str, count: int, data: Buffer) -> Array:
    view = memoryview(data)
    if count > len(view) // _LENGTH.size:
        raise _wrong_count(name, count, len(view))
    elements = np.empty(count, BYTES_ARRAY)
    start = 0
    for position in range(count):
        if start + _LENGTH.size > len(view):
            raise _wrong_count(name, count, len(view))
        (length,) = _LENGTH.unpack_from(view, start)
        start += _LENGTH.size
        if length > len(view) - start:
            raise bad_request(
                "size_mismatch",
                f"Input {name!r}: element {position} is said to have {length} bytes, {len(view) - start} are left.",
                input=name,
            )
        elements[position] = bytes(view[start : start + length])
        start += length
    if start != len(view):
        raise _wrong_count(name, count, len(view))
    return elements


def _wrong_count(name: str, count: int, size: int) -> ApiError:
    return bad_request(
        "size_mismatch",
        f"Input {name!r}: its {size} bytes are not {count} elements, each behind its length in 4 bytes.",
        input=name,
        expected=f"{count} elements",
    )


def encode_raw(datatype: Datatype, array: Array) -> Buffer:
    """A view of `array` where that is possible."""
    if datatype is Datatype.BYTES:
        return b"".join(part for value in array.flat for part in (_LENGTH.pack(len(value)), value))
    if not array.size:
        return b""
    return np.ascontiguousarray(array).data.cast("B")


def decode_whole_body(signature: Signature, body: Buffer) -> dict[str, Array]:
    """A body that is nothing but the one input's bytes."""
    if len(signature.inputs) != 1:
        raise bad_request(
            "missing_input",
            f"The body is raw bytes of one input, but the model takes several: {signature.describe()}. Send them by"
            " name.",
        )
    spec = signature.inputs[0]
    return {spec.name: decode_one_item(spec, body, signature.batched)}


def decode_one_item(spec: TensorSpec, body: Buffer, batched: bool) -> Array:
    """The sizes that the spec leaves open follow from the number of bytes. For BYTES the body is one element."""
    if spec.datatype is not Datatype.BYTES:
        return decode_raw(spec, _open_sizes(spec, memoryview(body).nbytes, batched), body)
    shape = [1 if size == -1 else size for size in spec.shape]
    if math.prod(shape) != 1:
        raise bad_request(
            "shape_mismatch",
            f"Input {spec.name!r} takes {list(spec.shape)} elements, a raw body is one.",
            input=spec.name,
        )
    elements = np.empty(1, BYTES_ARRAY)
    elements[0] = bytes(body)
    return elements.reshape(tuple(shape))


def _open_sizes(spec: TensorSpec, size_bytes: int, batched: bool) -> list[int]:
    """The shape of `size_bytes`. With more open sizes than one, the batch is one item."""
    shape = list(spec.shape)
    if batched and shape.count(-1) > 1:
        shape[0] = 1
    if shape.count(-1) > 1:
        raise bad_request(
            "shape_mismatch",
            f"Input {spec.name!r} leaves several sizes open ({list(spec.shape)}), which raw bytes do not tell. Send"
            " them with a shape.",
            input=spec.name,
            expected=str(list(spec.shape)),
        )
    if -1 in shape:
        step = math.prod(size for size in shape if size != -1) * NUMPY[spec.datatype].itemsize
        if not step or not size_bytes or size_bytes % step:
            raise bad_request(
                "size_mismatch",
                f"The body has {size_bytes} bytes; input {spec.name!r} {spec.datatype} {list(spec.shape)} takes a"
                f" multiple of {step}.",
                input=spec.name,
                expected=f"a multiple of {step} bytes",
                got=f"{size_bytes} bytes",
            )
        shape[shape.index(-1)] = size_bytes // step
    return shape
