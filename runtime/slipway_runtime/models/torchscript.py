"""TorchScript archives: load, bind inputs to `forward`, run, name the outputs."""

from __future__ import annotations

import json
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import torch

from slipway_runtime.contract import Datatype, Format, WarmupSample
from slipway_runtime.models.borrowing import Borrower, separate
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.model import DeviceMemoryError, PredictionError
from slipway_runtime.models.signature import Signature, SignatureError, signature_from_samples
from slipway_runtime.models.signaturefile import (
    SIGNATURE_FILE,
    ModelLoadError,
    ModelMemoryError,
    SignatureMissingError,
    parse_signature,
)
from slipway_runtime.models.tensors import to_arrays, to_tensor
from slipway_runtime.models.threads import usable_cpus

_ESSENCE_LIMIT: Final = 600
_RAISED: Final = re.compile(r"(?:[\w.]+\.)?\w+(?:Error|Exception): (?P<message>.+)")

_jit: Any = torch.jit
"""Typed in some versions of torch and untyped in others."""

log = logging.getLogger(__name__)


class TorchScriptModel:
    """A loaded archive. Used from one thread at a time."""

    format = Format.TORCH_SCRIPT
    example = None

    def __init__(
        self,
        module: torch.jit.ScriptModule,
        signature: Signature,
        device: str,
        warmup_samples: Sequence[WarmupSample] = (),
        *,
        call: Callable[..., Any] | None = None,
    ) -> None:
        """`call` runs the module in a way of its own; without it the module is called."""
        self.module = module
        self.signature = signature
        self.device = device
        self.warmup_samples = tuple(warmup_samples)
        self.properties: Mapping[str, str] = MappingProxyType({})
        self.output_datatypes: Mapping[str, Datatype] = MappingProxyType({})
        self.keywords = _bind(module, signature)
        self._call = call or module
        self._borrower = Borrower()

    def predict(
        self,
        inputs: Mapping[str, Array],
        out: Mapping[str, Array] | None = None,
        limit_seconds: float | None = None,
    ) -> dict[str, Array]:
        own = self._borrower.take(inputs)
        tensors = self.bind(own)
        try:
            with torch.inference_mode():
                answer = self._call(*tensors) if self.keywords is None else self._call(**self._by_name(tensors))
                arrays, datatypes = to_arrays(answer, self.signature.outputs, out)
        except (_jit.Error, RuntimeError, ValueError, TypeError, IndexError, MemoryError) as error:
            kind = DeviceMemoryError if is_out_of_memory(error) else PredictionError
            raise kind(essence(error)) from error
        self._borrower.look(own, inputs)
        self.output_datatypes = datatypes
        return separate(arrays, own)

    def bind(self, inputs: Mapping[str, Array]) -> list[torch.Tensor]:
        """One tensor per input, in the order of the signature."""
        return [to_tensor(inputs[spec.name], spec.datatype, self.device) for spec in self.signature.inputs]

    @property
    def device_name(self) -> str:
        """Of the hardware, as its maker calls it; `cpu` for any CPU."""
        return self.device if self.device == "cpu" else torch.cuda.get_device_name()

    @property
    def threads(self) -> int:
        """Of one operation on the CPU."""
        return torch.get_num_threads()

    def health(self) -> str | None:
        return None

    def close(self) -> None:
        pass

    def _by_name(self, tensors: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        return dict(zip(self.keywords or (), tensors, strict=True))


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
            raise ModelMemoryError(essence(error)) from error
        raise ModelLoadError(f"torch {torch.__version__} cannot load the archive: {essence(error)}") from error
    module.eval()
    signature, own_samples = _read_signature(files[SIGNATURE_FILE], samples, module)
    model = TorchScriptModel(module, signature, device, own_samples)
    passed = "by position" if model.keywords is None else "by name"
    log.info("Loaded TorchScript on %s with %d threads; inputs are passed %s", device, torch.get_num_threads(), passed)
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
    if content:
        signature, own_samples = parse_signature(content, f"{SIGNATURE_FILE} inside the archive")
    elif samples:
        try:
            signature = signature_from_samples(samples)
        except SignatureError as error:
            raise ModelLoadError(str(error)) from None
    else:
        raise SignatureMissingError(_how_to_tell(module))
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
    return [argument.name for argument in forward_arguments(module)]


def forward_arguments(module: torch.jit.ScriptModule) -> Sequence[Any]:
    """Of forward, without self: objects with `name` and `has_default_value()`."""
    forward: Any = module.forward
    arguments: Sequence[Any] = forward.schema.arguments
    return arguments[1:]


def _bind(module: torch.jit.ScriptModule, signature: Signature) -> list[str] | None:
    """Keyword names, one per input, when forward knows them all; None to pass by position."""
    arguments = forward_arguments(module)
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
    return None
