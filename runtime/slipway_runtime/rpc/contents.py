"""Tensors in protobuf's own repeated fields instead of raw bytes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from slipway_runtime.contract import Datatype
from slipway_runtime.models.datatypes import NUMPY
from slipway_runtime.protocol.errors import bad_request

Content = dict[str, Any]
"""An input as it stands in the protocol's JSON."""

_FIELDS: Final[Mapping[Datatype, str]] = MappingProxyType(
    {
        Datatype.BOOL: "bool_contents",
        Datatype.INT8: "int_contents",
        Datatype.INT16: "int_contents",
        Datatype.INT32: "int_contents",
        Datatype.INT64: "int64_contents",
        Datatype.UINT8: "uint_contents",
        Datatype.UINT16: "uint_contents",
        Datatype.UINT32: "uint_contents",
        Datatype.UINT64: "uint64_contents",
        Datatype.FP32: "fp32_contents",
        Datatype.FP64: "fp64_contents",
        Datatype.BYTES: "bytes_contents",
    }
)
_NARROW: Final = frozenset({Datatype.INT8, Datatype.INT16, Datatype.UINT8, Datatype.UINT16, Datatype.BYTES})
"""Their fields can hold what the datatype cannot: every value is looked at."""


def content_of(tensor: Any) -> memoryview | list[Any]:
    """`tensor` is an `InferInputTensor`. Its values as bytes, as exact as they came, or as a list to be checked."""
    if tensor.datatype not in Datatype.__members__:
        return []  # the datatype is what will be refused
    datatype = Datatype(tensor.datatype)
    wanted = _FIELDS.get(datatype)
    if wanted is None:
        raise bad_request(
            "missing_field",
            f"Input {tensor.name!r} is {datatype}, which has no field in contents: send its bytes in"
            " raw_input_contents.",
            input=tensor.name,
        )
    for field, _ in tensor.contents.ListFields():
        if field.name != wanted:
            raise bad_request(
                "invalid_data",
                f"Input {tensor.name!r} is {datatype}, expected its values in {wanted}, got {field.name}.",
                input=tensor.name,
                expected=wanted,
                got=field.name,
            )
    values = getattr(tensor.contents, wanted)
    if datatype in _NARROW:
        return list(values)
    return memoryview(np.fromiter(values, NUMPY[datatype], len(values)).tobytes())
