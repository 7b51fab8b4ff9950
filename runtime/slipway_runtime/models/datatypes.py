"""Element types: the Open Inference Protocol's words and numpy's."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from slipway_runtime.contract import Datatype

Array = NDArray[Any]

NUMPY: Final[Mapping[Datatype, np.dtype[Any]]] = MappingProxyType(
    {
        Datatype.BOOL: np.dtype(np.bool_),
        Datatype.UINT8: np.dtype(np.uint8),
        Datatype.UINT16: np.dtype(np.uint16),
        Datatype.UINT32: np.dtype(np.uint32),
        Datatype.UINT64: np.dtype(np.uint64),
        Datatype.INT8: np.dtype(np.int8),
        Datatype.INT16: np.dtype(np.int16),
        Datatype.INT32: np.dtype(np.int32),
        Datatype.INT64: np.dtype(np.int64),
        Datatype.FP16: np.dtype(np.float16),
        Datatype.FP32: np.dtype(np.float32),
        Datatype.FP64: np.dtype(np.float64),
        Datatype.BF16: np.dtype(np.uint16),
    }
)
"""What carries each datatype's elements. numpy has no bfloat16: BF16 travels as its bits, and only the signature tells
it from UINT16. BYTES has no fixed element size and is absent: its arrays hold `bytes` objects (`BYTES_ARRAY`)."""

BYTES_ARRAY: Final = np.dtype(object)
FLOATS: Final = frozenset({Datatype.FP16, Datatype.FP32, Datatype.FP64, Datatype.BF16})

_NAMES: Final = {dtype: name for name, dtype in NUMPY.items() if name is not Datatype.BF16}


def datatype_of(array: Array) -> Datatype | None:
    """None for element types that the protocol has no word for, such as complex numbers. Never BF16."""
    return _NAMES.get(array.dtype)
