"""Arrays in numpy's own file format, read without pickle."""

from __future__ import annotations

import re
from io import BytesIO
from math import prod
from struct import Struct
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
_VERSION_END: Final = len(MAGIC) + 2
_PREFIX_BYTES: Final = _VERSION_END + 4
_LENGTHS: Final = {1: Struct("<H"), 2: Struct("<I"), 3: Struct("<I")}
"""Of the header, by the format's version."""
_DESCR: Final = re.compile(rb"""['"]descr['"]\s*:\s*['"]([<>|=]?[?biufSU]\d{0,9})['"]""")
_FORTRAN: Final = re.compile(rb"""['"]fortran_order['"]\s*:\s*(True|False)""")
_SHAPE: Final = re.compile(rb"""['"]shape['"]\s*:\s*\(([\d,\s]*)\)""")


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
    """Shape, whether it is in columns, element type, first byte of the elements. The header is a Python literal, which
    is looked through and not evaluated."""
    start = bytes(memoryview(body)[: _HEADER_BYTES + _PREFIX_BYTES])
    if not start.startswith(MAGIC) or len(start) < _PREFIX_BYTES:
        raise _not_npy(name, "it does not begin as one")
    lengths = _LENGTHS.get(start[len(MAGIC)])
    if lengths is None:
        raise _not_npy(name, f"version {start[len(MAGIC)]} of the format, expected 1, 2 or 3")
    (length,) = lengths.unpack_from(start, _VERSION_END)
    begin = _VERSION_END + lengths.size
    header = start[begin : begin + length]
    if len(header) < length:
        raise _not_npy(name, f"its header is cut off, or longer than {_HEADER_BYTES} bytes")
    found = [pattern.search(header) for pattern in (_DESCR, _FORTRAN, _SHAPE)]
    if not all(found):
        raise _not_npy(name, f"its header is {header[:100]!r}, expected numbers, booleans or fixed-length strings")
    descr, fortran, sizes = (match[1] for match in found if match)
    try:
        dtype = np.dtype(descr.decode())
        shape = tuple(int(size) for size in sizes.replace(b",", b" ").split())
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        raise _not_npy(name, str(error).partition("\n")[0]) from None
    if dtype.itemsize == 0:
        raise _not_npy(name, f"its elements of {dtype} have no size")
    return shape, fortran == b"True", dtype, begin + length


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
