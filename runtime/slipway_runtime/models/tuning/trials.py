"""Requests on which variants are compared and timed: several sizes and values for everything that varies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from slipway_runtime.contract import Datatype
from slipway_runtime.models.bfloat16 import to_bits
from slipway_runtime.models.datatypes import FLOATS, NUMPY, Array
from slipway_runtime.models.signature import Signature
from slipway_runtime.models.warmup import generate, grow

_SEED: Final = 20241111
_BATCHES: Final = (2, 3)
_GROWTH: Final = (2, 3)
_SMALL_INTEGERS: Final = 8

Inputs = Mapping[str, Array]
Shapes = Mapping[str, Sequence[int]]
Fill = Callable[[Datatype, Sequence[int], np.random.Generator], Array]


def make_inputs(signature: Signature, shapes: Shapes, fill: Fill, seed: int = 0) -> dict[str, Array]:
    generator = np.random.default_rng(_SEED + seed)
    return {spec.name: fill(spec.datatype, shapes[spec.name], generator) for spec in signature.inputs}


def varied(datatype: Datatype, shape: Sequence[int], generator: np.random.Generator) -> Array:
    """Floats between 0 and 1, as pictures have them; integers from 0 to 7; either boolean; letters."""
    size = tuple(shape)
    if datatype is Datatype.BYTES:
        return np.full(size, b"abc", np.object_)
    if datatype is Datatype.BF16:
        return to_bits(generator.random(size))
    if datatype in FLOATS:
        return generator.random(size).astype(NUMPY[datatype])
    if datatype is Datatype.BOOL:
        return generator.random(size) < 0.5
    return generator.integers(0, _SMALL_INTEGERS, size).astype(NUMPY[datatype])


def plan_shapes(signature: Signature, requests: Sequence[Shapes]) -> Iterator[Shapes]:
    """What the model was warmed up with, other batch sizes, and other sizes of every axis that varies."""
    yield from requests
    first = requests[0]
    if signature.batched:
        for size in _BATCHES:
            yield with_rows(first, size)
    for factor in _GROWTH:
        grown = grow(signature, first, factor)
        if grown != first:
            yield grown
            if signature.batched:
                yield with_rows(grown, factor)


def with_rows(shapes: Shapes, size: int) -> Shapes:
    return {name: [size, *shape[1:]] for name, shape in shapes.items()}


FILLS: Final[Sequence[Fill]] = (generate, varied)
