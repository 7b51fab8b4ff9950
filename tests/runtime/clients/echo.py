"""A handler that answers with what it is given, in every type that TorchScript archives seldom take."""

from __future__ import annotations

from typing import Any

import torch

_TYPES = {
    "halves": ("FP16", [-1, 2]),
    "brains": ("BF16", [-1, 2]),
    "words": ("BYTES", [-1]),
    "flags": ("BOOL", [-1, 2]),
}


def signature() -> dict[str, Any]:
    tensors = [{"name": name, "datatype": datatype, "shape": shape} for name, (datatype, shape) in _TYPES.items()]
    return {"inputs": tensors, "outputs": [{**tensor, "name": f"{tensor['name']}_out"} for tensor in tensors]}


def predict(batch: dict[str, Any], ctx: Any) -> dict[str, Any]:
    brains = torch.from_numpy(batch["brains"].copy()).view(torch.bfloat16)
    return {f"{name}_out": values for name, values in {**batch, "brains": brains}.items()}
