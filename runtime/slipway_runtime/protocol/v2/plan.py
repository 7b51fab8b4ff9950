"""Requests whose tensors are all binary differ only in the bytes behind their JSON. What the JSON said is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from slipway_runtime.contract import Datatype
from slipway_runtime.models.datatypes import NUMPY
from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.codec import Decoded

_CHECKED = frozenset({Datatype.BYTES, Datatype.BOOL})
"""Their bytes have rules of their own."""


@dataclass(frozen=True, slots=True)
class BinaryPlan:
    parts: tuple[tuple[str, np.dtype[Any], tuple[int, ...], int, int], ...]
    """Name, element type, shape, first byte and number of elements of each input, in the order of the request."""
    size_bytes: int
    template: Decoded

    def decode(self, raw: memoryview) -> Decoded | None:
        """None when `raw` has another size than the JSON announces."""
        if len(raw) != self.size_bytes:
            return None
        known = self.template
        inputs = {
            name: np.frombuffer(raw, dtype, count, start).reshape(shape)
            for name, dtype, shape, start, count in self.parts
        }
        return Decoded(inputs, known.outputs, known.id, known.priority, known.timeout_seconds, known.form)


def plan_of(content: Mapping[str, Any], decoded: Decoded, signature: Signature) -> BinaryPlan | None:
    """`decoded` is what `content` was decoded to. None where an input has its data in the JSON, has no elements, or
    has bytes to be checked."""
    datatypes = {spec.name: spec.datatype for spec in signature.inputs}
    parts = []
    start = 0
    for tensor in content["inputs"]:
        name = tensor["name"]
        array = decoded.inputs[name]
        if "data" in tensor or not array.size or datatypes[name] in _CHECKED:
            return None
        dtype = NUMPY[datatypes[name]]
        parts.append((name, dtype, array.shape, start, array.size))
        start += array.size * dtype.itemsize
    template = Decoded({}, decoded.outputs, decoded.id, decoded.priority, decoded.timeout_seconds, decoded.form)
    return BinaryPlan(tuple(parts), start, template)
