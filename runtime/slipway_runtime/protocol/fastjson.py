"""Numbers of a JSON body straight into arrays, without a Python object for each.

Only what is plainly right is read here. On any doubt `DoubtError` (or one of simdjson's own errors, see `DOUBTS`) is
raised, and the careful decoder reads the body again: it alone knows the exact words for what is wrong. Both agree on
every body.

simdjson flattens nested lists and does not tell whether they were regular. So the lists that a tensor must consist of
are counted while they are looked at, and the opening brackets of the whole body must be as many: then there is none
in a place where a number should be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Final, TypeVar

import numpy as np
import simdjson

from slipway_runtime.contract import Datatype, TensorSpec
from slipway_runtime.models.datatypes import FLOATS, NUMPY, Array
from slipway_runtime.protocol.codec import Buffer
from slipway_runtime.protocol.tensors import narrow

T = TypeVar("T")

JsonObject = simdjson.Object
JsonArray = simdjson.Array

_KEPT_BYTES: Final = 8 * 1024 * 1024
"""A parser keeps memory for its largest body, some ten times as much: those of larger ones are let go."""
_MIN_BYTES: Final = 2
_LONG_BYTES: Final = 8192
_BRACKET: Final = ord("[")
_SMALL: Final = 1024
"""Values up to which a sum of squares is cheaper than the extremes."""
_LARGEST_SQUARE: Final = 0.99 * float(np.finfo(np.float32).max) ** 2
_MAX_RANK: Final = 16
_FP32: Final = np.dtype(np.float32)
MIN_DEPTH: Final = 4 + _MAX_RANK
"""With a lower limit of nesting than what is read here can have, the careful decoder reads everything."""


class DoubtError(Exception):
    """The careful decoder decides."""


DOUBTS: Final = (DoubtError, ValueError, TypeError, RuntimeError, KeyError, IndexError, OverflowError)


class _Tools:
    """Serve one body at a time. Both keep their memory, because touching new memory costs more than reading a body."""

    __slots__ = ("_mask", "parser")

    def __init__(self) -> None:
        self.parser = simdjson.Parser()
        self._mask = np.empty(0, np.bool_)

    def count_brackets(self, body: Buffer) -> int:
        size = len(body)
        if size < _LONG_BYTES:
            return bytes(body).count(b"[")
        if len(self._mask) < size:
            self._mask = np.empty(size, np.bool_)
        return int(np.count_nonzero(np.equal(np.frombuffer(body, np.uint8), _BRACKET, out=self._mask[:size])))


_free: list[_Tools] = []
"""As many as bodies were read at the same time, by several threads."""


def read_document(body: Buffer, read: Callable[[Any, int], T]) -> T | None:
    """What `read` makes of the parsed document and the number of `[` in the body; None on any doubt. Nothing that
    `read` returns may refer to the document."""
    if len(body) < _MIN_BYTES or body[0] not in b"{[":
        return None
    try:
        tools = _free.pop()
    except IndexError:
        tools = _Tools()
    try:
        result = read(tools.parser.parse(body), tools.count_brackets(body))
    except DOUBTS:
        # Not to be used again: while the exception's frames hold on to the document, the parser refuses every body.
        return None
    if len(body) <= _KEPT_BYTES:
        _free.append(tools)
    return result


def read_numbers(body: Buffer, datatype: Datatype) -> Array | None:
    """Of a flat list; None on any doubt."""

    def read(document: Any, brackets: int) -> Array:
        if type(document) is not JsonArray or brackets != 1:
            raise DoubtError
        return _CONVERTERS.get(datatype, _refuse)(document)

    return read_document(body, read)


class TensorReader:
    """Of one input."""

    def __init__(self, spec: TensorSpec) -> None:
        self.name = spec.name
        self.datatype = str(spec.datatype)
        self.shape = tuple(spec.shape)
        self._row = self.shape[1:]
        self._convert = _CONVERTERS.get(spec.datatype, _refuse)

    def fits(self, shape: Sequence[int]) -> bool:
        if shape[1:] == self._row and shape and self.shape[0] in (-1, shape[0]):
            return True
        return len(shape) == len(self.shape) and all(
            size == wanted or wanted == -1 for size, wanted in zip(shape, self.shape, strict=True)
        )

    def read(self, data: Any, shape: tuple[int, ...]) -> tuple[Array, int]:
        """`shape` fits. The array, and how many lists it is made of if it is right."""
        count = prod(shape)
        if not count or not shape or type(data) is not JsonArray:
            raise DoubtError
        array = self._convert(data)
        if array.size != count:
            raise DoubtError
        if len(data) == count:
            # Flat. A nested tensor looks the same where all sizes but the first are 1; then the brackets differ.
            return array.reshape(shape), 1 if type(data[0]) is not JsonArray else count_lists(data, shape)
        return array.reshape(shape), count_lists(data, shape)

    def read_nested(self, data: Any) -> tuple[Array, int]:
        """As `read`, with the shape found from the lists."""
        shape: list[int] = []
        part = data
        while type(part) is JsonArray and len(shape) < len(self.shape):
            shape.append(len(part))
            part = part[0]
        if not shape or not self.fits(shape) or not prod(shape):
            raise DoubtError
        array = self._convert(data)
        if array.size != prod(shape):
            raise DoubtError
        return array.reshape(shape), count_lists(data, shape)


def count_lists(data: Any, shape: Sequence[int]) -> int:
    """How many lists nest as `shape` says. Those of the last dimension are not looked into."""
    if type(data) is not JsonArray or len(data) != shape[0]:
        raise DoubtError
    if len(shape) == 1:
        return 1
    rest = shape[1:]
    return 1 + sum(count_lists(part, rest) for part in data)


def scalars_of(parameters: Any) -> dict[str, Any]:
    """An object of plain values, each key once."""
    if type(parameters) is not JsonObject:
        raise DoubtError
    content = parameters.as_dict()
    if len(content) != len(parameters) or any(isinstance(value, dict | list) for value in content.values()):
        raise DoubtError
    return content


def _to_fp32(data: Any) -> Array:
    wide = np.frombuffer(data.as_buffer(of_type="d"))
    # Where all squares together are small, each value is. Other products warn when a square is infinite.
    if wide.size <= _SMALL and np.vdot(wide, wide) < _LARGEST_SQUARE:
        return wide.astype(_FP32)
    return _to_narrow(wide, np.float32)


def _to_narrow(wide: Array, dtype: Any) -> Array:
    limit = np.finfo(dtype).max
    if wide.size and (wide.max() > limit or wide.min() < -limit):
        raise DoubtError  # it may still round to the greatest
    return wide.astype(dtype)


def _to_fp16(data: Any) -> Array:
    return _to_narrow(np.frombuffer(data.as_buffer(of_type="d")), np.float16)


def _to_bf16(data: Any) -> Array:
    array, finite = narrow(Datatype.BF16, np.frombuffer(data.as_buffer(of_type="d")))
    if not finite.all():
        raise DoubtError
    return array


def _to_fp64(data: Any) -> Array:
    return np.frombuffer(data.as_buffer(of_type="d"))


def _integer(datatype: Datatype) -> Callable[[Any], Array]:
    dtype = NUMPY[datatype]
    if datatype is Datatype.UINT64:
        return lambda data: np.frombuffer(data.as_buffer(of_type="u"), np.uint64)
    if datatype is Datatype.INT64:
        return lambda data: np.frombuffer(data.as_buffer(of_type="i"), np.int64)
    bounds = np.iinfo(dtype)
    low, high = int(bounds.min), int(bounds.max)

    def convert(data: Any) -> Array:
        wide = np.frombuffer(data.as_buffer(of_type="i"), np.int64)
        if wide.size and (wide.min() < low or wide.max() > high):
            raise DoubtError
        return wide.astype(dtype)

    return convert


def _refuse(data: Any) -> Array:
    raise DoubtError


_CONVERTERS: Final[dict[Datatype, Callable[[Any], Array]]] = {
    Datatype.FP16: _to_fp16,
    Datatype.FP32: _to_fp32,
    Datatype.FP64: _to_fp64,
    Datatype.BF16: _to_bf16,
    **{
        datatype: _integer(datatype)
        for datatype, dtype in NUMPY.items()
        if dtype.kind in "iu" and datatype not in FLOATS
    },
}
"""BOOL and BYTES are read with care: simdjson has no buffer of them."""
