"""Arrays in numpy's own file format, read without pickle."""

from __future__ import annotations

from io import BytesIO
from math import prod
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy

from slipway_runtime.contract import Datatype, TensorSpec
from slipway_runtime.models import bfloat16
from slipway_runtime.models.datatypes import BYTES_ARRAY, FLOATS, NUMPY, Array
from slipway_runtime.protocol.codec import Buffer
from slipway_runtime.protocol.errors import ApiError, bad_request
from slipway_runtime.protocol.tensors import check_shape, narrow

MAGIC: Final = b"\x93NUMPY"
_HEADER_BYTES: Final = 10_000
_READERS: Final = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def decode_npy(spec: TensorSpec, body: Buffer) -> Array:
    """A view of `body` where the element types are the same, else converted where that loses no range: numbers to
    floats, integers to integers. Raises `ApiError`."""
    shape, fortran, dtype, start = _read_header(spec.name, body)
    check_shape(spec, shape)
    size = memoryview(body).nbytes - start
    if size != prod(shape) * dtype.itemsize:
        raise bad_request(
            "size_mismatch",
            f"Input {spec.name!r}: {size} bytes follow the npy header, its shape {list(shape)} of {dtype} needs"
            f" {prod(shape) * dtype.itemsize}.",
            input=spec.name,
        )
    flat: Array = np.frombuffer(body, dtype, offset=start) if size else np.empty(0, dtype)
    return convert(spec, flat.reshape(shape, order="F" if fortran else "C"))


def _read_header(name: str, body: Buffer) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    file = BytesIO(bytes(memoryview(body)[: _HEADER_BYTES + len(MAGIC) + 6]))
    try:
        version = npy.read_magic(file)
        reader = _READERS[version]
        shape, fortran, dtype = reader(file, max_header_size=_HEADER_BYTES)
    except KeyError:
        raise _not_npy(name, f"version {'.'.join(map(str, version))} of the format, expected 1.0 or 2.0") from None
    except (ValueError, EOFError, OverflowError, MemoryError, RecursionError, TypeError, SyntaxError) as error:
        raise _not_npy(name, str(error).partition("\n")[0]) from None
    if dtype.hasobject or dtype.itemsize == 0 or any(size < 0 for size in shape):
        raise _not_npy(name, f"element type {dtype}, expected numbers, booleans or fixed-length strings")
    return shape, fortran, dtype, file.tell()


def _not_npy(name: str, detail: str) -> ApiError:
    return bad_request("invalid_npy", f"Input {name!r} is no array in the npy format: {detail[:200]}.", input=name)


def convert(spec: TensorSpec, array: Array) -> Array:
    """As the spec's element type, C-ordered and of the machine's byte order."""
    datatype = spec.datatype
    if datatype is Datatype.BYTES:
        return _to_bytes(spec, array)
    target = NUMPY[datatype]
    if array.dtype == target and datatype is not Datatype.BF16:
        return np.ascontiguousarray(array).reshape(array.shape)
    kind = array.dtype.kind
    if datatype in FLOATS and kind in "fiu":
        converted, finite = narrow(datatype, array.astype(np.float64))
        if kind == "f":
            finite |= ~np.isfinite(array)  # what was given as infinite or NaN stays so
        if not finite.all():
            raise _out_of_range(spec, array[~finite].flat[0])
        return np.ascontiguousarray(converted).reshape(array.shape)
    if target.kind in "iu" and kind in "iu" and datatype is not Datatype.BF16:
        if array.size:
            bounds, low, high = np.iinfo(target), int(array.min()), int(array.max())
            if low < bounds.min or high > bounds.max:
                raise _out_of_range(spec, low if low < bounds.min else high)
        return array.astype(target, order="C")
    raise bad_request(
        "datatype_mismatch",
        f"Input {spec.name!r} has elements of {array.dtype}, expected {datatype}.",
        input=spec.name,
        expected=str(datatype),
        got=str(array.dtype),
    )


def _to_bytes(spec: TensorSpec, array: Array) -> Array:
    if array.dtype.kind not in "SU":
        raise bad_request(
            "datatype_mismatch",
            f"Input {spec.name!r} has elements of {array.dtype}, expected strings for BYTES.",
            input=spec.name,
        )
    elements = np.empty(array.size, BYTES_ARRAY)
    for position, value in enumerate(array.reshape(-1).tolist()):
        try:
            elements[position] = value if isinstance(value, bytes) else value.encode()
        except UnicodeEncodeError:
            raise bad_request(
                "invalid_data",
                f"Input {spec.name!r}: element {position} holds half of a surrogate pair.",
                input=spec.name,
            ) from None
    return elements.reshape(array.shape)


def _out_of_range(spec: TensorSpec, value: object) -> ApiError:
    return bad_request(
        "out_of_range",
        f"Input {spec.name!r}: {str(value)[:40]} lies outside the range of {spec.datatype}.",
        input=spec.name,
    )


def encode_npy(datatype: Datatype, array: Array) -> list[Buffer]:
    """Header and elements; BF16 as FP32, which holds the same numbers."""
    values = bfloat16.from_bits(array) if datatype is Datatype.BF16 else np.ascontiguousarray(array)
    values = values.reshape(array.shape)
    header = BytesIO()
    npy.write_array_header_1_0(header, npy.header_data_from_array_1_0(values))
    return [header.getvalue(), values.data.cast("B")] if values.size else [header.getvalue()]
