"""An archive's graph in ONNX Runtime. numpy's memory goes in and comes out; torch has no part in a prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from slipway_runtime.contract import Datatype, Format, WarmupSample
from slipway_runtime.models.datatypes import Array, datatype_of
from slipway_runtime.models.model import DeviceMemoryError, OutputError, PredictionError
from slipway_runtime.models.signature import Signature

_LOG_ERRORS: Final = 3
_ESSENCE_LIMIT: Final = 600
_NO_MEMORY: Final = ("Failed to allocate memory", "bad allocation", "out of memory")
_PROVIDERS: Final = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxModel:
    """Used from one thread at a time."""

    format = Format.TORCH_SCRIPT
    example = None

    def __init__(
        self,
        session: Any,
        signature: Signature,
        device: str,
        samples: Sequence[WarmupSample],
        graph: bytes | None = None,
    ) -> None:
        """The session's inputs are named by `input_name`, its outputs as the model's. `graph` is what it was made of,
        where that is small."""
        self.graph = graph
        self.signature = signature
        self.device = device
        self.warmup_samples = tuple(samples)
        self.properties: Mapping[str, str] = MappingProxyType({})
        self.output_datatypes: Mapping[str, Datatype] = MappingProxyType({})
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()]
        used = {one.name for one in session.get_inputs()}
        # An input that does not matter to the answer is absent from the graph.
        self._inputs = [
            (input_name(position), spec.name)
            for position, spec in enumerate(signature.inputs)
            if input_name(position) in used
        ]

    def predict(
        self,
        inputs: Mapping[str, Array],
        out: Mapping[str, Array] | None = None,
        limit_seconds: float | None = None,
    ) -> dict[str, Array]:
        try:
            answer = self._session.run(self._outputs, {known: inputs[name] for known, name in self._inputs})
        except Exception as error:
            text = " ".join(str(error).split())[:_ESSENCE_LIMIT]
            kind = DeviceMemoryError if any(words in text for words in _NO_MEMORY) else PredictionError
            raise kind(text or type(error).__name__) from error
        return {name: _place(name, array, out) for name, array in zip(self._outputs, answer, strict=True)}

    def health(self) -> str | None:
        return None

    def close(self) -> None:
        pass


def input_name(position: int) -> str:
    """Names of the model's inputs may be taken inside its graph already."""
    return f"slipway_input_{position}"


def open_session(graph: Path | bytes, device: str, threads: int) -> Any:
    """Raises whatever ONNX Runtime does; `LookupError` when it was built without the device."""
    import onnxruntime

    provider = _PROVIDERS[device]
    if provider not in onnxruntime.get_available_providers():
        raise LookupError(f"the installed ONNX Runtime has no {provider}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_ERRORS
    # Threads wait actively inside a run, where it makes them faster, and not between runs, where it burns an idle CPU.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(
        graph if isinstance(graph, bytes) else str(graph), options, providers=[provider]
    )


def _place(name: str, array: object, out: Mapping[str, Array] | None) -> Array:
    if not isinstance(array, np.ndarray) or datatype_of(array) is None:
        raise OutputError(f"Output {name!r} is {getattr(array, 'dtype', type(array).__name__)}, expected a tensor.")
    target = out.get(name) if out else None
    if target is None or target.shape != array.shape or target.dtype != array.dtype:
        return array
    np.copyto(target, array)
    return target
