"""One batch in shared memory: where its inputs lie, and where the worker is to write its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from math import prod
from typing import Any, Final

import numpy as np

from slipway_runtime.engines.engine import Execution, Layout
from slipway_runtime.engines.worker.region import Place, PlaceError, align, plan
from slipway_runtime.engines.worker.slabs import Slab, SlabPool
from slipway_runtime.engines.worker.wire import Done
from slipway_runtime.models.datatypes import Array

_OBJECTS: Final = np.dtype(np.object_)
_sequences: Final = count(1)


class SlabArrays(dict[str, Array]):
    """Arrays that lie in one slab."""

    __slots__ = ("places", "slab")

    slab: Slab
    places: Sequence[Place]


@dataclass(slots=True, eq=False)
class Batch:
    """Between `start` and `done`."""

    execution: Execution
    inputs: Slab
    places: Sequence[Place]
    outputs: Slab
    sequence: int
    returned: bool = False
    """The worker is through with it. A process that was lost may write until it has ended, and so is not."""
    kept: bool = False
    """The model refers to the inputs still."""


class OutputSizes:
    """How much memory the outputs of a batch will want, from those seen. A wrong guess costs one exchange more."""

    def __init__(self) -> None:
        self._largest = 0
        self._per_row = 0.0

    def learn(self, rows: int, size_bytes: int) -> None:
        self._largest = max(self._largest, size_bytes)
        self._per_row = max(self._per_row, size_bytes / max(1, rows))

    def expect(self, rows: int) -> int:
        return min(2 * self._largest, int(self._per_row * rows) + 1)


def allocate(pool: SlabPool, layout: Layout) -> Mapping[str, Array]:
    """Arrays in one slab; elements of bytes have no fixed size, so a layout with such is written twice. Raises
    `MemoryError`."""
    if any(dtype == _OBJECTS for _, dtype in layout.values()):
        return {name: np.empty(shape, dtype) for name, (shape, dtype) in layout.items()}
    places, offset = [], 0
    for name, (shape, dtype) in layout.items():
        size_bytes = prod(shape) * dtype.itemsize
        places.append(Place(name, dtype.str, shape, offset, size_bytes))
        offset += align(size_bytes)
    slab = pool.take(offset)
    arrays = SlabArrays((place.name, slab.view(place)) for place in places)
    arrays.slab = slab
    arrays.places = places
    return arrays


def make_batch(pool: SlabPool, sizes: OutputSizes, execution: Execution) -> Batch:
    """Copies the inputs unless `allocate` gave them. Raises `MemoryError`."""
    inputs = execution.inputs
    if isinstance(inputs, SlabArrays):
        slab, places = inputs.slab, inputs.places
    else:
        given: list[Place]
        given, contents, size_bytes = plan(inputs)
        slab, places = pool.take(size_bytes), given
        slab.write(places, contents)
    outputs = pool.take(sizes.expect(rows_of(inputs)))
    return Batch(execution, slab, places, outputs, next(_sequences))


def read_outputs(batch: Batch, message: Done) -> dict[str, Array]:
    """Views into the output slab. Raises `PlaceError`."""
    try:
        return {place.name: batch.outputs.view(place) for place in message.places}
    except (TypeError, ValueError, OverflowError) as error:
        raise PlaceError(str(error)) from None


def rows_of(tensors: Mapping[str, Any]) -> int:
    """Of the first; 1 where it has none."""
    for array in tensors.values():
        return array.shape[0] if array.ndim else 1
    return 1
