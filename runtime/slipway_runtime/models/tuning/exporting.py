"""TorchScript to an ONNX file, by torch's own exporter and without its chatter."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch.onnx import symbolic_helper

_OPSET: Final = 17
"""The newest that torch's exporter of TorchScript writes well."""
_UNFLATTEN: Final = "aten::unflatten"

_helper: Any = symbolic_helper
_onnx: Any = torch.onnx

Axes = Mapping[str, Mapping[int, str]]


def export(
    module: torch.jit.ScriptModule,
    tensors: Sequence[torch.Tensor],
    path: Path,
    names: tuple[Sequence[str], Sequence[str]],
    axes: Axes,
) -> None:
    """`names` are of inputs and outputs; `axes` names the dimensions that vary. Raises whatever the exporter does."""
    _onnx.register_custom_op_symbolic(_UNFLATTEN, _unflatten, _OPSET)
    try:
        with _stdout_closed():
            _onnx.export(
                module,
                tuple(tensors),
                str(path),
                input_names=list(names[0]),
                output_names=list(names[1]),
                dynamic_axes={name: dict(sizes) for name, sizes in axes.items()},
                opset_version=_OPSET,
                dynamo=False,
            )
    finally:
        _onnx.unregister_custom_op_symbolic(_UNFLATTEN, _OPSET)


def _unflatten(graph: Any, tensor: Any, axis: Any, sizes: Any) -> Any:
    """With a shape that is a constant. torch's own computes it inside the graph, where its number of dimensions gets
    lost, and without that no attention can be exported."""
    rank = _helper._get_tensor_rank(tensor)
    position = _helper._maybe_get_const(axis, "i")
    parts = _helper._maybe_get_const(sizes, "is")
    if rank is None or not isinstance(position, int) or not isinstance(parts, Sequence):
        raise NotImplementedError("unflatten with sizes that vary cannot be exported")
    position %= rank
    after = _helper._get_tensor_sizes(tensor)[position + 1 :] if position + 1 < rank else []
    if any(size is None for size in after):
        raise NotImplementedError("unflatten before a size that varies cannot be exported")
    # 0 keeps the size of the input at the same position.
    shape = graph.op("Constant", value_t=torch.tensor([*[0] * position, *parts, *after]))
    return _helper._reshape_helper(graph, tensor, shape)


@contextmanager
def _stdout_closed() -> Iterator[None]:
    """The exporter's C++ prints whole graphs to the standard output, which is for log lines."""
    libc = ctypes.CDLL(None)
    sys.stdout.flush()
    libc.fflush(None)
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        libc.fflush(None)
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
