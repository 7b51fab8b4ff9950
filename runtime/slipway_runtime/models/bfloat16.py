"""BF16 for numpy, which has no such type: the upper half of a float32, carried as uint16."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from slipway_runtime.models.datatypes import Array


def from_bits(bits: Array) -> NDArray[np.float32]:
    """Exact: every BF16 is a float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_bits(values: Array) -> NDArray[np.uint16]:
    """The nearest BF16 of FP32 or FP64 numbers, ties to even, as torch rounds; NaN stays NaN, too large is infinity."""
    with np.errstate(over="ignore"):
        wide = values.astype(np.float32).view(np.uint32)
    rounded = (wide + (0x7FFF + (wide >> 16 & 1))) >> 16
    return np.where(wide & 0x7FFFFFFF > 0x7F800000, wide >> 16 | 0x40, rounded).astype(np.uint16)
