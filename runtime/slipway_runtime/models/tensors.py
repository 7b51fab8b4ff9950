"""Between numpy's arrays and torch's tensors. Memory is shared wherever it can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch

from slipway_runtime.contract import Datatype, TensorSpec
from slipway_runtime.models.datatypes import Array, datatype_of
from slipway_runtime.models.model import OutputError

_BITS: Final = np.dtype(np.uint16)
"""numpy has no BF16: its bits travel in this type."""


def to_tensor(array: Array, datatype: Datatype, device: str) -> torch.Tensor:
    """Borrows the memory, unless torch cannot: it warns about read-only memory and takes no negative strides."""
    tensor = torch.from_numpy(np.require(array, requirements=["C", "W"]))
    if datatype is Datatype.BF16:
        tensor = tensor.view(torch.bfloat16)
    return tensor if device == "cpu" else tensor.to(device, non_blocking=True)


def name_parts(answer: object, declared: Sequence[str]) -> dict[str, object]:
    """`declared` names the parts in order, or selects from a dict; when empty the names are found or made."""
    if isinstance(answer, dict):
        missing = [name for name in declared if name not in answer]
        if missing:
            raise OutputError(f"The model gave the outputs {sorted(map(str, answer))}, without {missing}.")
        return {str(name): answer[name] for name in declared or answer}
    parts: Sequence[object] = answer if isinstance(answer, tuple | list) else (answer,)
    names = declared or list(getattr(answer, "_fields", ())) or [f"output__{i}" for i in range(len(parts))]
    if len(names) != len(parts):
        raise OutputError(f"The model gave {len(parts)} outputs, its signature names {len(names)}: {list(names)}.")
    return dict(zip(names, parts, strict=True))


def to_arrays(
    answer: object, declared: Sequence[TensorSpec], out: Mapping[str, Array] | None = None
) -> tuple[dict[str, Array], dict[str, Datatype]]:
    """The outputs by name, and the element types of those whose arrays do not tell them."""
    parts = name_parts(answer, [spec.name for spec in declared])
    # An archive may have been saved with the promise of FP32 for what its model gives as BF16.
    widened = {spec.name for spec in declared if spec.datatype is Datatype.FP32}
    arrays, datatypes = {}, {}
    for name, part in parts.items():
        tensor = _strided(name, part)
        if tensor.dtype is torch.bfloat16 and name in widened:
            tensor = tensor.float()
        if tensor.dtype is torch.bfloat16:
            datatypes[name] = Datatype.BF16
            tensor = tensor.view(torch.uint16)
        arrays[name] = _to_array(name, tensor, out.get(name) if out else None)
    return arrays, datatypes


def _strided(name: str, part: object) -> torch.Tensor:
    if isinstance(part, torch.Tensor):
        tensor = part.detach()
        if tensor.layout is not torch.strided:
            tensor = tensor.to_dense()
        return tensor.dequantize() if tensor.is_quantized else tensor
    if isinstance(part, bool | int | float):
        return torch.from_numpy(np.asarray(part))
    raise OutputError(
        f"Output {name!r} is a {type(part).__name__}, expected a tensor. Let forward return a tensor, or a tuple,"
        " list or dict of tensors."
    )


def _to_array(name: str, tensor: torch.Tensor, out: Array | None) -> Array:
    if out is not None and out.shape == tuple(tensor.shape):
        target = torch.from_numpy(out)
        if target.dtype is tensor.dtype:
            target.copy_(tensor)
            return out
    try:
        array: Array = tensor.cpu().numpy()
    except TypeError as error:
        raise OutputError(f"Output {name!r} is {tensor.dtype}, which the protocol cannot carry.") from error
    if array.dtype != _BITS and datatype_of(array) is None:
        raise OutputError(f"Output {name!r} is {array.dtype}, which the protocol cannot carry.")
    return array
