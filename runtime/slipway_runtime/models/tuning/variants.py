"""Builds each way to run an archive. One that cannot be built says why."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch

from slipway_runtime.contract import Datatype
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.model import PredictionError
from slipway_runtime.models.signaturefile import ModelLoadError
from slipway_runtime.models.torchscript import (
    TorchScriptModel,
    essence,
    forward_arguments,
    is_out_of_memory,
    quiet_deprecation,
)
from slipway_runtime.models.tuning.choice import Variant
from slipway_runtime.models.tuning.exporting import export
from slipway_runtime.models.tuning.onnxmodel import OnnxModel, input_name, open_session
from slipway_runtime.models.tuning.refusals import refuses_values
from slipway_runtime.models.tuning.trials import Inputs

_jit: Any = torch.jit
"""Typed in some versions of torch and untyped in others."""

_SMALL_GRAPH_BYTES: Final = 4 * 2**20
"""Kept, so that another process can use it without torch: twice what is run in the gateway's process has at most."""

Outputs = Mapping[str, Array]


class VariantError(Exception):
    """This way does not exist for this archive; the message says why."""


def build(
    variant: Variant, archive: TorchScriptModel, inputs: Inputs, outputs: Outputs
) -> TorchScriptModel | OnnxModel:
    """`inputs` is a request that the archive answers with `outputs`. Raises `VariantError`."""
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # Of tracing and of deprecated functions: whether a variant is right is compared, not believed.
            warnings.simplefilter("ignore")
            return _BUILDERS[variant](archive, inputs, outputs)
    except VariantError:
        raise
    except (ModelLoadError, PredictionError) as error:
        raise VariantError(str(error)) from error
    except Exception as error:
        # Exporters raise errors of every kind, and none of them may end the start.
        if is_out_of_memory(error):
            raise VariantError("does not fit into the memory") from error
        raise VariantError(f"{type(error).__name__}: {essence(error)}") from error


def _freeze(archive: TorchScriptModel, inputs: Inputs, outputs: Outputs) -> TorchScriptModel | OnnxModel:
    return _as(archive, _jit.freeze(archive.module))


def _optimize(archive: TorchScriptModel, inputs: Inputs, outputs: Outputs) -> TorchScriptModel | OnnxModel:
    return _as(archive, _jit.optimize_for_inference(_jit.freeze(archive.module)))


def _autocast(archive: TorchScriptModel, inputs: Inputs, outputs: Outputs) -> TorchScriptModel | OnnxModel:
    frozen = _jit.freeze(archive.module)

    def call(*tensors: Any, **named: Any) -> Any:
        with torch.autocast(archive.device, torch.bfloat16):
            return _widen(frozen(*tensors, **named))

    return _as(archive, frozen, call)


def _half(archive: TorchScriptModel, inputs: Inputs, outputs: Outputs) -> TorchScriptModel | OnnxModel:
    with tempfile.TemporaryDirectory(prefix="slipway-") as folder:
        # A ScriptModule is converted in place and cannot be copied in memory.
        path = str(Path(folder) / "copy.pt")
        with quiet_deprecation():
            _jit.save(archive.module, path)
            copy = _jit.load(path, map_location=archive.device)
    frozen = _jit.freeze(copy.eval().to(torch.bfloat16))

    def call(*tensors: Any, **named: Any) -> Any:
        return _widen(frozen(*map(_narrow, tensors), **{name: _narrow(tensor) for name, tensor in named.items()}))

    return _as(archive, frozen, call)


def _export(archive: TorchScriptModel, inputs: Inputs, outputs: Outputs) -> TorchScriptModel | OnnxModel:
    """Through a file in a temporary folder, because a graph above 2 GiB has its weights in further files."""
    specs = archive.signature.inputs
    if any(spec.datatype is Datatype.BF16 for spec in specs) or archive.output_datatypes:
        raise VariantError("ONNX Runtime exchanges no BF16 with numpy")
    if refuses_values(archive.module):
        raise VariantError("the archive refuses some values, which its graph would answer")
    positions = _positions(archive)
    tensors = [tensor.clone() for tensor in archive.bind(inputs)]
    axes = {
        input_name(position): {
            axis: f"{input_name(position)}_{axis}" for axis, size in enumerate(spec.shape) if size < 0
        }
        for position, spec in enumerate(specs)
    }
    axes |= {name: {axis: f"{name}_{axis}" for axis in range(array.ndim)} for name, array in outputs.items()}
    with tempfile.TemporaryDirectory(prefix="slipway-") as folder:
        path = Path(folder) / "model.onnx"
        export(
            archive.module,
            [tensors[position] for position in positions],
            path,
            ([input_name(position) for position in positions], list(outputs)),
            {name: sizes for name, sizes in axes.items() if sizes},
        )
        session = open_session(path, archive.device, torch.get_num_threads())
        graph = path.read_bytes() if path.stat().st_size <= _SMALL_GRAPH_BYTES else None
    return OnnxModel(session, archive.signature, archive.device, archive.warmup_samples, graph)


def _positions(archive: TorchScriptModel) -> list[int]:
    """Positions in the signature, in the order of forward's arguments; the exporter passes nothing by name."""
    names = [spec.name for spec in archive.signature.inputs]
    if archive.keywords is None:
        return list(range(len(names)))
    first = [argument.name for argument in forward_arguments(archive.module)][: len(names)]
    if set(first) != set(names):
        raise VariantError(f"the exporter passes arguments by position, and {sorted(names)} are not the first ones")
    return [names.index(name) for name in first]


def _as(archive: TorchScriptModel, module: Any, call: Callable[..., Any] | None = None) -> TorchScriptModel:
    return TorchScriptModel(module, archive.signature, archive.device, archive.warmup_samples, call=call)


def _narrow(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.bfloat16) if tensor.dtype is torch.float32 else tensor


def _widen(answer: Any) -> Any:
    """FP32 where a part was computed in BF16: what the archive promises does not change."""
    if isinstance(answer, torch.Tensor):
        return answer.float() if answer.dtype is torch.bfloat16 else answer
    if isinstance(answer, dict):
        return {name: _widen(part) for name, part in answer.items()}
    if isinstance(answer, tuple | list):
        parts = [_widen(part) for part in answer]
        return type(answer)(*parts) if hasattr(answer, "_fields") else type(answer)(parts)
    return answer


_BUILDERS: Final[Mapping[Variant, Callable[[TorchScriptModel, Inputs, Outputs], TorchScriptModel | OnnxModel]]] = {
    Variant.FROZEN: _freeze,
    Variant.OPTIMIZED: _optimize,
    Variant.ONNX_RUNTIME: _export,
    Variant.BF16_AUTOCAST: _autocast,
    Variant.BF16_WEIGHTS: _half,
}
