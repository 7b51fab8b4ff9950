"""TorchScript archives: load, bind inputs to `forward`, run, name the outputs. The only module that imports torch."""

from __future__ import annotations

import json
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from pydantic import ValidationError

from slipway_runtime.contract import Datatype, Format, TensorSpec, WarmupSample, Wire
from slipway_runtime.models.datatypes import NUMPY, Array, datatype_of
from slipway_runtime.models.model import DeviceMemoryError, OutputError, PredictionError
from slipway_runtime.models.signature import (
    Signature,
    check_signature,
    signature_from_samples,
)
from slipway_runtime.models.threads import usable_cpus

SIGNATURE_FILE: Final = "slipway.json"
"""Extra file inside the archive that tells inputs and outputs."""

_ESSENCE_LIMIT: Final = 600
_RAISED: Final = re.compile(r"(?:[\w.]+\.)?\w+(?:Error|Exception): (?P<message>.+)")

_jit: Any = torch.jit
"""Typed in some versions of torch and untyped in others."""

log = logging.getLogger(__name__)


class ModelLoadError(Exception):
    """The archive cannot be loaded, or cannot be called as its signature says."""


class SignatureMissingError(Exception):
    """Neither the archive nor the configuration says which inputs the model takes."""


class OutOfMemoryError(Exception):
    """The model does not fit into the memory of the device."""


class SignatureFile(Wire):
    """What an archive says about itself."""

    inputs: list[TensorSpec]
    outputs: list[TensorSpec] = []
    warmup_samples: list[WarmupSample] = []
    """Requests that the model answers, where a size that varies cannot be 1."""


class TorchScriptModel:
    """A loaded archive. Used from one thread at a time."""

    format = Format.TORCH_SCRIPT

    def __init__(
        self,
        module: torch.jit.ScriptModule,
        signature: Signature,
        device: str,
        warmup_samples: Sequence[WarmupSample] = (),
    ) -> None:
        self.signature = signature
        self.device = device
        self.warmup_samples = tuple(warmup_samples)
        self._module = module
        self._keywords = _bind(module, signature)

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        tensors = [self._to_tensor(inputs[spec.name]) for spec in self.signature.inputs]
        try:
            with torch.inference_mode():
                if self._keywords is None:
                    answer = self._module(*tensors)
                else:
                    answer = self._module(**dict(zip(self._keywords, tensors, strict=True)))
                return name_outputs(answer, [spec.name for spec in self.signature.outputs])
        except (_jit.Error, RuntimeError, ValueError, TypeError, IndexError, MemoryError) as error:
            kind = DeviceMemoryError if is_out_of_memory(error) else PredictionError
            raise kind(essence(error)) from error

    def _to_tensor(self, array: Array) -> torch.Tensor:
        # torch warns about memory it may not write, and cannot take negative strides.
        owned = np.require(array, requirements=["C", "W"])
        return torch.from_numpy(owned).to(self.device, non_blocking=True)


def name_outputs(answer: object, declared: Sequence[str]) -> dict[str, Array]:
    """`declared` names the parts in order, or selects from a dict; when empty the names are found or made."""
    if isinstance(answer, dict):
        missing = [name for name in declared if name not in answer]
        if missing:
            raise OutputError(f"The model gave the outputs {sorted(map(str, answer))}, without {missing}.")
        return {str(name): _to_array(name, answer[name]) for name in declared or answer}
    parts: Sequence[object] = answer if isinstance(answer, tuple | list) else (answer,)
    names = declared or list(getattr(answer, "_fields", ())) or [f"output__{i}" for i in range(len(parts))]
    if len(names) != len(parts):
        raise OutputError(f"The model gave {len(parts)} outputs, its signature names {len(names)}: {list(names)}.")
    return {name: _to_array(name, part) for name, part in zip(names, parts, strict=True)}


def load_torchscript(path: Path, samples: Sequence[WarmupSample]) -> TorchScriptModel:
    """Runs in the thread that will predict, because torch keeps thread settings per thread."""
    _limit_threads()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    files: dict[str, Any] = {SIGNATURE_FILE: ""}
    try:
        with quiet_deprecation():
            module: torch.jit.ScriptModule = _jit.load(str(path), map_location=device, _extra_files=files)
    except (RuntimeError, ValueError, OSError) as error:
        if is_out_of_memory(error):
            raise OutOfMemoryError(essence(error)) from error
        raise ModelLoadError(f"torch {torch.__version__} cannot load the archive: {essence(error)}") from error
    module.eval()
    signature, own_samples = _read_signature(files[SIGNATURE_FILE], samples, module)
    model = TorchScriptModel(module, signature, device, own_samples)
    log.info("Loaded TorchScript on %s with %d threads", device, torch.get_num_threads())
    return model


def essence(error: BaseException) -> str:
    """One line of torch's message: what its interpreter's traceback ends with, or what the message begins with."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    raised = [match for line in lines if (match := _RAISED.fullmatch(line))]
    line = raised[-1]["message"] if raised else lines[0] if lines else type(error).__name__
    return line[:_ESSENCE_LIMIT]


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return "DefaultCPUAllocator: can't allocate memory" in text or "CUDA out of memory" in text


@contextmanager
def quiet_deprecation() -> Iterator[None]:
    """Newer torch deprecates TorchScript, which is what is served here; nothing else is silenced."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is deprecated", category=FutureWarning)
        yield


def _limit_threads() -> None:
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(usable_cpus())


def _read_signature(
    content: bytes | str, samples: Sequence[WarmupSample], module: torch.jit.ScriptModule
) -> tuple[Signature, Sequence[WarmupSample]]:
    own_samples: Sequence[WarmupSample] = ()
    try:
        if content:
            parsed = SignatureFile.model_validate(json.loads(content))
            signature, own_samples = Signature(tuple(parsed.inputs), tuple(parsed.outputs)), parsed.warmup_samples
            check_signature(signature)
        elif samples:
            signature = signature_from_samples(samples)
        else:
            raise SignatureMissingError(_how_to_tell(module))
    except ValidationError as invalid:
        fault = invalid.errors(include_url=False)[0]
        where = ".".join(str(step) for step in fault["loc"])
        raise ModelLoadError(f"{SIGNATURE_FILE} inside the archive: {where}: {fault['msg']}.") from None
    except (ValueError, RecursionError) as error:
        where = f"{SIGNATURE_FILE} inside the archive: " if content else ""
        raise ModelLoadError(f"{where}{error}") from None
    for spec in (*signature.inputs, *signature.outputs):
        if spec.datatype is Datatype.BYTES:
            raise ModelLoadError(f"{spec.name!r} is BYTES, which no tensor of torch can hold. Expected a number type.")
    return signature, own_samples


def _how_to_tell(module: torch.jit.ScriptModule) -> str:
    names = _parameters(module) or ["input"]
    sample = {"inputs": [{"name": name, "datatype": "FP32", "shape": [-1, 3, 224, 224]} for name in names]}
    return (
        f"Nothing says which inputs the model takes; its forward has the arguments {names}. Either save the archive"
        f' with slipway.torchscript.save(module, path, inputs={{"{names[0]}": example}}), or describe one request in'
        f" spec.runtime.warmup.samples (warmupSamples in the runtime's configuration), for example"
        f" {json.dumps(sample)} with the real element types and shapes."
    )


def _parameters(module: torch.jit.ScriptModule) -> list[str]:
    return [argument.name for argument in _arguments(module)]


def _arguments(module: torch.jit.ScriptModule) -> Sequence[Any]:
    """Of forward, without self: objects with `name` and `has_default_value()`."""
    forward: Any = module.forward
    arguments: Sequence[Any] = forward.schema.arguments
    return arguments[1:]


def _bind(module: torch.jit.ScriptModule, signature: Signature) -> list[str] | None:
    """Keyword names, one per input, when forward knows them all; None to pass by position."""
    arguments = _arguments(module)
    names = [spec.name for spec in signature.inputs]
    known = [argument.name for argument in arguments]
    required = [argument.name for argument in arguments if not argument.has_default_value()]
    if set(names) <= set(known):
        missing = [name for name in required if name not in names]
        if missing:
            raise ModelLoadError(f"The signature has the inputs {names}; forward needs {missing} as well.")
        return names
    if not len(required) <= len(names) <= len(known):
        raise ModelLoadError(
            f"The signature has {len(names)} inputs {names}; forward takes {len(known)}: {known}. Expected as many."
        )
    log.info("Inputs %s are passed to forward%s by position", names, tuple(known))
    return None


def _to_array(name: object, part: object) -> Array:
    if isinstance(part, torch.Tensor):
        tensor = part.detach()
        if tensor.layout is not torch.strided:
            tensor = tensor.to_dense()
        if tensor.dtype is torch.bfloat16:
            tensor = tensor.float()
        if tensor.is_quantized:
            tensor = tensor.dequantize()
        try:
            array: Array = tensor.cpu().numpy()
        except TypeError as error:
            raise OutputError(f"Output {name!r} is {tensor.dtype}, which the protocol cannot carry.") from error
    elif isinstance(part, bool | int | float):
        array = np.asarray(part)
    else:
        raise OutputError(
            f"Output {name!r} is a {type(part).__name__}, expected a tensor. Let forward return a tensor, or a tuple,"
            " list or dict of tensors."
        )
    if datatype_of(array) is None or array.dtype not in NUMPY.values():
        raise OutputError(f"Output {name!r} is {array.dtype}, which the protocol cannot carry.")
    return array
