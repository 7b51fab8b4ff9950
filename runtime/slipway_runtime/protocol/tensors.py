"""Tensors in JSON: lists of numbers, flat or nested, to arrays and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from slipway_runtime.contract import Datatype, TensorSpec
from slipway_runtime.models import bfloat16
from slipway_runtime.models.datatypes import BYTES_ARRAY, FLOATS, NUMPY, Array
from slipway_runtime.models.signature import Signature, fits
from slipway_runtime.protocol.errors import ApiError, bad_request
from slipway_runtime.protocol.jsontext import a_kind_of

_ALLOWED: Final[Mapping[Datatype, frozenset[type]]] = {
    datatype: frozenset({bool})
    if datatype is Datatype.BOOL
    else frozenset({int, float})
    if datatype in FLOATS
    else frozenset({str, bytes})
    if datatype is Datatype.BYTES
    else frozenset({int})
    for datatype in Datatype
}
MOST_OF_EMPTY: Final = 2**20
"""The product of the sizes, those of 0 left out, of a tensor without elements."""
MOST_STRINGS: Final = 2**20
"""Elements of a BYTES tensor. Each becomes an object of Python, ten times as large as a short one is in the body, and
takes half a microsecond in which nobody else is served."""
_KINDS: Final = {
    bool: "true or false",
    int: "integers",
    float: "fractions",
    str: "strings",
    list: "lists",
    dict: "objects",
    type(None): "null",
}
_EXPECTED: Final = {
    frozenset({bool}): "true or false",
    frozenset({int, float}): "numbers",
    frozenset({int}): "integers",
    frozenset({str, bytes}): "strings",
}


def decode_tensor(spec: TensorSpec, shape: Sequence[int], data: object) -> Array:
    """`data` is flat in row-major order, or nested as `shape` says; a new array. BYTES may hold `bytes` beside text."""
    name = spec.name
    flat = _flatten(name, shape, data)
    count = math.prod(shape)
    if len(flat) != count:
        raise bad_request(
            "size_mismatch",
            f"Input {name!r} has {len(flat)} values, its shape {list(shape)} needs {count}.",
            input=name,
            expected=f"{count} values",
            got=f"{len(flat)} values",
        )
    return _convert(name, spec.datatype, flat).reshape(tuple(shape))


def _flatten(name: str, shape: Sequence[int], data: object) -> list[Any]:
    if not isinstance(data, list):
        if shape:
            raise bad_request(
                "invalid_data", f"Input {name!r}: data is {a_kind_of(data)}, expected a list.", input=name
            )
        return [data]
    level: list[Any] = data
    if not level or not isinstance(level[0], list):
        return level
    for depth, size in enumerate(shape):
        if depth and not all(isinstance(part, list) and len(part) == size for part in level):
            raise _ragged(name, shape)
        if not depth and len(level) != size:
            raise _ragged(name, shape)
        if depth:
            level = list(chain.from_iterable(level))
    return level


def _ragged(name: str, shape: Sequence[int]) -> ApiError:
    return bad_request(
        "size_mismatch", f"Input {name!r}: the nested lists do not have the shape {list(shape)} everywhere.", input=name
    )


def _convert(name: str, datatype: Datatype, flat: list[Any]) -> Array:
    allowed = _ALLOWED[datatype]
    wrong = set(map(type, flat)) - allowed
    if wrong:
        kinds = ", ".join(sorted(_KINDS.get(kind, kind.__name__) for kind in wrong))
        raise bad_request(
            "invalid_data",
            f"Input {name!r} is {datatype}, expected {_EXPECTED[allowed]} in data, got {kinds}.",
            input=name,
            expected=str(datatype),
            got=kinds,
        )
    if datatype in FLOATS:
        return _convert_floats(name, datatype, flat)
    if datatype is Datatype.BYTES:
        return _convert_bytes(flat)
    dtype = NUMPY[datatype]
    if flat and datatype is not Datatype.BOOL:
        bounds = np.iinfo(dtype)
        low, high = min(flat), max(flat)
        if low < bounds.min or high > bounds.max:
            raise _out_of_range(name, datatype, low if low < bounds.min else high)
    return np.array(flat, dtype)


def _convert_floats(name: str, datatype: Datatype, flat: list[Any]) -> Array:
    try:
        wide = np.array(flat, np.float64)
    except OverflowError:
        raise _out_of_range(name, datatype, "a number") from None
    array, finite = narrow(datatype, wide)
    if not finite.all():
        raise _out_of_range(name, datatype, flat[int(np.argmin(finite))])
    return array


def narrow(datatype: Datatype, wide: Array) -> tuple[Array, NDArray[np.bool_]]:
    """FP64 numbers as `datatype`, and which of them are finite as such."""
    if datatype is Datatype.BF16:
        with np.errstate(over="ignore"):
            bits = bfloat16.to_bits(wide)
        return bits, np.isfinite(bfloat16.from_bits(bits))
    with np.errstate(over="ignore"):
        array = wide.astype(NUMPY[datatype])
    return array, np.isfinite(array)


def _convert_bytes(flat: list[Any]) -> Array:
    array = np.empty(len(flat), BYTES_ARRAY)
    for position, value in enumerate(flat):
        array[position] = value if isinstance(value, bytes) else value.encode()
    return array


def _out_of_range(name: str, datatype: Datatype, value: object) -> ApiError:
    shown = str(value) if isinstance(value, float | str) or abs(int(str(value)[:20])) < 10**18 else "a number"
    return bad_request(
        "out_of_range", f"Input {name!r}: {shown[:40]} lies outside the range of {datatype}.", input=name
    )


def to_json_values(spec: TensorSpec, array: Array) -> Array:
    """What JSON can say of an output: FP32 for BF16, text for BYTES; else the array itself. Raises `ApiError` for BYTES
    that are no text."""
    if spec.datatype is Datatype.BF16:
        numbers: Array = bfloat16.from_bits(array)
        return numbers
    if spec.datatype is not Datatype.BYTES:
        return array
    texts = np.empty(array.shape, BYTES_ARRAY)
    for position, value in np.ndenumerate(array):
        try:
            texts[position] = value.decode() if isinstance(value, bytes) else value
        except UnicodeDecodeError:
            raise ApiError(
                406,
                "not_acceptable",
                f"Output {spec.name!r} holds bytes that are no UTF-8 text, which JSON cannot carry. Ask for it in"
                " binary (Open Inference Protocol: binary_data true; /predict: Accept application/octet-stream).",
            ) from None
    return texts


def dump_array(array: Array) -> bytes:
    """JSON of the nested lists, each number as short as it can be and come back the same; null for what is not
    finite."""
    if array.dtype == BYTES_ARRAY:
        return orjson.dumps(array.tolist())
    if not array.shape:
        array = array.reshape(1)
        return orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
    return orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)


def has_null(array: Array, text: bytes) -> bool:
    """Whether `text`, the array's JSON, holds null in the place of numbers that are not finite."""
    return array.dtype.kind == "f" and b"null" in text


def check_shape(spec: TensorSpec, shape: Sequence[int]) -> None:
    if not fits(spec, shape):
        expected = f"{list(spec.shape)} {spec.datatype}"
        hint = ""
        if len(shape) == len(spec.shape) - 1 and spec.shape[0] == -1:
            hint = " The batch comes first: wrap one item into a batch of one."
        raise bad_request(
            "shape_mismatch",
            f"Input {spec.name!r} has the shape {list(shape)}, expected {list(spec.shape)} (-1 is any size).{hint}",
            input=spec.name,
            expected=expected,
            got=f"{list(shape)} {spec.datatype}",
        )
    if spec.datatype is Datatype.BYTES:
        _check_strings(spec.name, shape)
    _check_empty(spec, shape)


def _check_strings(name: str, shape: Sequence[int]) -> None:
    count = math.prod(shape)
    if count > MOST_STRINGS:
        raise bad_request(
            "too_many_strings",
            f"Input {name!r} has the shape {list(shape)}, which are {count} elements of BYTES, expected at most"
            f" {MOST_STRINGS} in one request. Send them in several.",
            input=name,
            expected=f"at most {MOST_STRINGS} elements",
            got=f"{count} elements",
        )


def _check_empty(spec: TensorSpec, shape: Sequence[int]) -> None:
    """Nothing in the body stands behind the sizes of a tensor that has no elements, yet its rows are computed."""
    if all(shape) or all(wanted == size for wanted, size in zip(spec.shape, shape, strict=True) if size):
        return
    if math.prod(size for size in shape if size) > MOST_OF_EMPTY:
        raise bad_request(
            "shape_mismatch",
            f"Input {spec.name!r} has the shape {list(shape)} and so no values; the other sizes of such a tensor"
            f" multiply to at most {MOST_OF_EMPTY}.",
            input=spec.name,
        )


def check_batch(signature: Signature, inputs: Mapping[str, Array]) -> None:
    """All inputs of one request carry the same number of items."""
    if not signature.batched:
        return
    sizes = {name: array.shape[0] for name, array in inputs.items()}
    if len(set(sizes.values())) > 1:
        shown = ", ".join(f"{name}: {size}" for name, size in sizes.items())
        raise bad_request("shape_mismatch", f"The inputs have different batch sizes ({shown}), expected one.")


def check_complete(signature: Signature, given: Mapping[str, object]) -> None:
    missing = [spec.name for spec in signature.inputs if spec.name not in given]
    if missing:
        raise bad_request(
            "missing_input",
            f"The inputs {missing} are missing. The model takes: {signature.describe()}.",
            input=missing[0],
        )


def find_input(signature: Signature, name: object) -> TensorSpec:
    for spec in signature.inputs:
        if spec.name == name:
            return spec
    raise bad_request(
        "unknown_input",
        f"There is no input {str(name)[:100]!r}. The model takes: {signature.describe()}.",
        input=str(name)[:100],
    )
