"""Save a torch module as an artifact that says by itself which inputs it takes and which outputs it gives."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from slipway_runtime.contract import Datatype, TensorSpec, WarmupSample
from slipway_runtime.models.bfloat16 import from_bits
from slipway_runtime.models.datatypes import Array, datatype_of
from slipway_runtime.models.model import PredictionError
from slipway_runtime.models.signature import Signature, SignatureError, check_signature
from slipway_runtime.models.signaturefile import SIGNATURE_FILE, ModelLoadError, SignatureFile
from slipway_runtime.models.tensors import to_arrays
from slipway_runtime.models.torchscript import TorchScriptModel, load_torchscript, quiet_deprecation
from slipway_runtime.models.warmup import WarmUpError, warm_up

_RELATIVE_TOLERANCE: Final = 1e-3
_ABSOLUTE_TOLERANCE: Final = 1e-4
"""Loose enough for a GPU's order of summation, tight enough for a wrong trace."""

_jit: Any = torch.jit
"""Typed in some versions of torch and untyped in others."""

Examples = Mapping[str, torch.Tensor]


class SaveError(Exception):
    """The module was not saved. The message says which promise the archive would have broken."""


def save(
    module: torch.nn.Module,
    path: str | os.PathLike[str],
    inputs: Examples,
    *,
    outputs: Sequence[str] = (),
    dynamic_axes: Mapping[str, Sequence[int]] | None = None,
) -> Signature:
    """Write `module` as TorchScript with its signature; returns the signature.

    `inputs` holds one example for each argument of forward, in forward's order, batch first. The batch (dimension 0)
    takes any size; `dynamic_axes` names all dimensions that do, input by input, instead. `outputs` names what forward
    gives, unless it gives a dict. A module that is not scripted yet is traced with the examples in eval mode, so one
    whose forward branches on values is to be scripted first (`torch.jit.script(module)`).

    The archive is loaded again and asked before it is placed, so `path` holds a working artifact or is left as it was.
    Raises `SaveError`.

        save(model, "digits.pt", inputs={"image": torch.zeros(1, 1, 8, 8)}, outputs=["scores"])
    """
    target = Path(path)
    specs = [_describe(name, tensor, (dynamic_axes or {}).get(name, (0,))) for name, tensor in inputs.items()]
    unknown = set(dynamic_axes or {}) - set(inputs)
    if unknown:
        raise SaveError(f"dynamic_axes names {sorted(unknown)}, expected names of inputs: {list(inputs)}.")
    file = SignatureFile(inputs=specs, warmup_samples=[_sample(inputs)])
    was_training = module.training
    module.eval()
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".slipway-") as folder:
            draft = Path(folder) / "draft.pt"
            script = _to_script(module, inputs)
            # Twice: the first archive is asked what it gives, the second says it.
            _write(script, draft, file)
            learned = _learn(draft, outputs)
            _write(script, draft, file.model_copy(update={"outputs": list(learned.outputs)}))
            _compare(module, draft, inputs, learned)
            draft.replace(target)
    except (PredictionError, ModelLoadError, WarmUpError, SignatureError) as error:
        raise SaveError(str(error)) from error
    finally:
        module.train(was_training)
    return learned


def _describe(name: str, tensor: torch.Tensor, dynamic: Sequence[int]) -> TensorSpec:
    datatype = Datatype.BF16 if tensor.dtype is torch.bfloat16 else datatype_of(_to_array(tensor))
    if datatype is None:
        raise SaveError(f"inputs[{name!r}] is {tensor.dtype}, which clients cannot send. Cast it inside forward.")
    wrong = [axis for axis in dynamic if not 0 <= axis < tensor.ndim]
    if wrong:
        raise SaveError(
            f"inputs[{name!r}] has {tensor.ndim} dimensions, dynamic_axes names {wrong}. Expected 0 to"
            f" {tensor.ndim - 1}; the batch is dimension 0."
        )
    shape = [-1 if axis in dynamic else size for axis, size in enumerate(tensor.shape)]
    return TensorSpec(name=name, datatype=datatype, shape=shape)


def _sample(inputs: Examples) -> WarmupSample:
    return WarmupSample(inputs=[_describe(name, tensor, ()) for name, tensor in inputs.items()])


def _to_script(module: torch.nn.Module, inputs: Examples) -> torch.jit.ScriptModule:
    if isinstance(module, torch.jit.ScriptModule):
        return module
    try:
        with quiet_deprecation(), torch.no_grad():
            # Its own check compares one trace with another; `_compare` compares the archive with the module.
            script: torch.jit.ScriptModule = _jit.trace(module, tuple(inputs.values()), check_trace=False)
    except (RuntimeError, TypeError, ValueError) as error:
        raise SaveError(f"The module cannot be traced: {error}") from error
    return script


def _write(script: torch.jit.ScriptModule, path: Path, file: SignatureFile) -> None:
    with quiet_deprecation():
        _jit.save(script, str(path), _extra_files={SIGNATURE_FILE: file.to_json()})


def _learn(path: Path, outputs: Sequence[str]) -> Signature:
    """The archive's signature as a runtime would find it, with the outputs renamed or selected."""
    learned = warm_up(load_torchscript(path, ()), ())
    if not outputs:
        return learned
    found = {spec.name: spec for spec in learned.outputs}
    if set(outputs) <= set(found):
        named = tuple(found[name] for name in outputs)
    elif len(outputs) == len(found):
        renamed = zip(outputs, learned.outputs, strict=True)
        named = tuple(spec.model_copy(update={"name": name}) for name, spec in renamed)
    else:
        raise SaveError(f"The module gives {len(found)} outputs {list(found)}, outputs names {list(outputs)}.")
    signature = Signature(learned.inputs, named)
    check_signature(signature)
    return signature


def _compare(module: torch.nn.Module, path: Path, inputs: Examples, signature: Signature) -> None:
    """The archive must answer as the module does, on the examples and, where the batch varies, on twice as many."""
    model = load_torchscript(path, ())
    warm_up(model, ())
    _compare_once(module, model, inputs)
    if signature.batched:
        _compare_once(module, model, {name: torch.cat([tensor, tensor]) for name, tensor in inputs.items()})


def _compare_once(module: torch.nn.Module, model: TorchScriptModel, inputs: Examples) -> None:
    with torch.no_grad():
        answer: Any = module(*inputs.values())
    expected, datatypes = to_arrays(answer, model.signature.outputs)
    actual = model.predict({name: _to_array(tensor) for name, tensor in inputs.items()})
    for name, array in expected.items():
        if not _close(actual[name], array, datatypes.get(name)):
            raise SaveError(
                f"The archive answers {name!r} otherwise than the module does. A traced forward keeps the branches and"
                " sizes of its example; pass torch.jit.script(module) instead."
            )


def _close(actual: Array, expected: Array, datatype: Datatype | None) -> bool:
    if datatype is Datatype.BF16:
        actual, expected = from_bits(actual), from_bits(expected)
    return actual.shape == expected.shape and np.allclose(
        actual, expected, rtol=_RELATIVE_TOLERANCE, atol=_ABSOLUTE_TOLERANCE, equal_nan=True
    )


def _to_array(tensor: torch.Tensor) -> Array:
    own = tensor.detach().cpu()
    array: Array = (own.view(torch.uint16) if own.dtype is torch.bfloat16 else own).numpy()
    return array
