"""Between batches and rows, and from what a handler gives to arrays that a signature describes. Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from slipway_runtime.contract import Datatype, TensorSpec
from slipway_runtime.models.bfloat16 import to_bits
from slipway_runtime.models.datatypes import NUMPY, Array, datatype_of
from slipway_runtime.models.model import OutputError, RowError
from slipway_runtime.models.signature import describe_tensor, fits

Row = dict[str, Any]
"""Values of one row by name, without the batch dimension."""


def split(batch: Mapping[str, Array], count: int) -> list[Row]:
    """Views, not copies."""
    return [{name: array[position] for name, array in batch.items()} for position in range(count)]


def group(rows: Mapping[int, Mapping[str, Any]]) -> list[tuple[list[int], dict[str, Array]]]:
    """Positions and stacked batches of the rows that agree in names, shapes and element types."""
    groups: dict[Any, tuple[list[int], list[dict[str, Array]]]] = {}
    for position, row in rows.items():
        arrays = {name: as_array(name, value)[0] for name, value in row.items()}
        key = tuple((name, array.shape, array.dtype.str) for name, array in arrays.items())
        positions, members = groups.setdefault(key, ([], []))
        positions.append(position)
        members.append(arrays)
    return [
        (positions, {name: np.stack([member[name] for member in members]) for name in members[0]})
        for positions, members in groups.values()
    ]


def name_values(answer: Any, declared: Sequence[TensorSpec]) -> dict[str, Any]:
    """By name, also when the handler gave the only output without its name. Raises `OutputError`."""
    if isinstance(answer, Mapping):
        missing = [spec.name for spec in declared if spec.name not in answer]
        if missing:
            raise OutputError(f"The handler gave the outputs {sorted(map(str, answer))}, without {missing}.")
        return {name: answer[name] for name in ([spec.name for spec in declared] or map(str, answer))}
    if answer is None or len(declared) > 1:
        wanted = [spec.name for spec in declared] or "names"
        raise OutputError(f"The handler gave a {type(answer).__name__}, expected a dict with {wanted}.")
    return {declared[0].name if declared else "output__0": answer}


def split_answer(answer: Any, count: int, declared: Sequence[TensorSpec]) -> list[Row | RowError]:
    """One entry for each of `count` rows, from a dict of arrays or a list of rows. Raises `OutputError`."""
    if isinstance(answer, list) and (any(isinstance(one, Mapping | RowError) for one in answer)):
        if len(answer) != count:
            raise OutputError(f"The handler gave {len(answer)} rows for a batch of {count}.")
        return [one if isinstance(one, RowError) else name_values(one, declared) for one in answer]
    columns = name_columns(answer, count, declared)
    return [{name: values[position] for name, values in columns.items()} for position in range(count)]


def name_columns(answer: Any, count: int, declared: Sequence[TensorSpec]) -> dict[str, Any]:
    """Outputs with one entry per row. Raises `OutputError`."""
    columns = name_values(answer, declared)
    for name, values in columns.items():
        try:
            length = len(values)
        except TypeError:
            raise OutputError(f"Output {name!r} is a single {type(values).__name__}, expected {count} rows.") from None
        if length != count:
            raise OutputError(f"Output {name!r} has {length} rows for a batch of {count}.")
    return columns


def join(rows: Sequence[Row | RowError]) -> tuple[dict[str, Any], dict[int, RowError]]:
    """Columns as long as `rows`, and the rows that failed; their places hold a copy of another row's values."""
    failed = {position: row for position, row in enumerate(rows) if isinstance(row, RowError)}
    good = [row for row in rows if not isinstance(row, RowError)]
    if not good:
        return {}, failed
    names = list(good[0])
    if any(list(row) != names for row in good):
        raise OutputError("The handler gave different outputs for different rows.")
    columns = {}
    for name in names:
        filler = good[0][name]
        values = [as_array(name, filler if isinstance(row, RowError) else row[name]) for row in rows]
        shapes = {array.shape for array, _ in values}
        if len(shapes) > 1:
            shown = sorted(map(list, shapes))[:4]
            raise OutputError(f"Rows of output {name!r} have different shapes, such as {shown}. Pad them to one.")
        stacked = np.stack([array for array, _ in values])
        columns[name] = Told(stacked, values[0][1])
    return columns, failed


class Told:
    """An array, and the datatype that it does not tell itself."""

    __slots__ = ("array", "datatype")

    def __init__(self, array: Array, datatype: Datatype | None) -> None:
        self.array = array
        self.datatype = datatype


def as_array(name: str, value: Any) -> tuple[Array, Datatype | None]:
    """The array, and its datatype where that is not plain from it. Raises `OutputError`."""
    if isinstance(value, Told):
        return value.array, value.datatype
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        tensor = value.detach()
        if tensor.dtype is torch.bfloat16:
            return tensor.view(torch.uint16).cpu().numpy(), Datatype.BF16
        return tensor.cpu().numpy(), None
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise OutputError(f"{name!r} is no array: {error}. Lists must have the same length at each depth.") from None
    if array.dtype.kind in "SUO":
        return _as_bytes(name, array), Datatype.BYTES
    return array, None


def _as_bytes(name: str, array: Array) -> Array:
    result = np.empty(array.shape, np.object_)
    for position, element in np.ndenumerate(array):
        if isinstance(element, str):
            element = element.encode()
        if not isinstance(element, bytes):
            raise OutputError(f"{name!r} holds a {type(element).__name__}, expected numbers, str or bytes.")
        result[position] = bytes(element)
    return result


def coerce(name: str, value: Any, wanted: Datatype | None) -> tuple[Array, Datatype]:
    """The array in the element type that is wanted, or its own; never a silent loss. Raises `OutputError`."""
    array, told = as_array(name, value)
    own = told or datatype_of(array)
    if own is None:
        raise OutputError(f"Output {name!r} is {array.dtype}, which the protocol cannot carry.")
    if wanted is None or own is wanted:
        return array, own
    if Datatype.BYTES not in (own, wanted) and own is not Datatype.BF16:
        if wanted is Datatype.BF16 and array.dtype.kind == "f":
            return to_bits(array), wanted
        dtype = NUMPY[wanted]
        if wanted is not Datatype.BF16 and (np.can_cast(array.dtype, dtype, "same_kind") or _in_range(array, dtype)):
            return array.astype(dtype), wanted
    raise OutputError(f"Output {name!r} is {own}, its signature says {wanted}.")


def _in_range(array: Array, dtype: np.dtype[Any]) -> bool:
    """Integers that fit into the other type, such as a list's into UINT8."""
    if array.dtype.kind not in "iu" or dtype.kind not in "iu":
        return False
    bounds = np.iinfo(dtype)
    return not array.size or (int(array.min()) >= bounds.min and int(array.max()) <= bounds.max)


def check_shape(spec: TensorSpec, array: Array) -> None:
    if not fits(spec, array.shape):
        raise OutputError(f"Output {spec.name!r} has the shape {list(array.shape)}, expected {describe_tensor(spec)}.")
