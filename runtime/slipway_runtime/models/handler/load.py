"""Loads a handler: opens its artifact, runs its module and its setup, learns what it takes."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from slipway_runtime.contract import Datatype, WarmupSample
from slipway_runtime.models.datatypes import NUMPY, Array
from slipway_runtime.models.handler.context import Context, read_params
from slipway_runtime.models.handler.faults import describe, is_out_of_memory
from slipway_runtime.models.handler.hooks import Caller, Hooks, find_hooks, import_handler
from slipway_runtime.models.handler.model import HandlerModel
from slipway_runtime.models.handler.rows import coerce
from slipway_runtime.models.handler.unpack import HANDLER_FILE, Code, open_code
from slipway_runtime.models.model import OutputError, PredictionError
from slipway_runtime.models.signature import (
    Signature,
    SignatureError,
    describe_tensor,
    fits,
    signature_from_samples,
)
from slipway_runtime.models.signaturefile import (
    SIGNATURE_FILE,
    ModelLoadError,
    ModelMemoryError,
    SignatureMissingError,
    check_signature_file,
    parse_signature,
)
from slipway_runtime.models.tuning.trials import FILLS, Shapes, make_inputs, with_rows
from slipway_runtime.models.warmup import WarmUpError, generate, plan_requests

T = TypeVar("T")

_EXAMPLE: Final = (
    '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],'
    ' "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}]}'
)

log = logging.getLogger(__name__)


def load_handler(path: Path, samples: Sequence[WarmupSample]) -> HandlerModel:
    """Runs in the thread that will predict. Raises `ModelLoadError`, `SignatureMissingError`, `ModelMemoryError`, and
    `OSError` where its archive cannot be unpacked."""
    code = open_code(path)
    caller = Caller()
    try:
        return _start(code, caller, samples)
    except BaseException:
        caller.close()
        code.remove()
        raise


def _start(code: Code, caller: Caller, samples: Sequence[WarmupSample]) -> HandlerModel:
    module = _run("importing it", lambda: import_handler(code), code)
    hooks = _run("making its Handler", lambda: find_hooks(module), code)
    context = Context(_device(), code.folder, read_params())
    setup, told = hooks.setup, hooks.signature
    if setup is not None:
        _run("setup", lambda: caller.call(setup, context), code)
    said = _run("signature", lambda: caller.call(told), code) if told is not None else None
    signature, own_samples = _read_signature(said, code, samples, hooks)
    example = _run("example", lambda: _read_example(hooks, caller, signature), code)
    if example is not None:
        own_samples = [_describe(signature, example)]
    log.info("Loaded the handler with %s", ", ".join(name for name in vars(hooks) if getattr(hooks, name)))
    model = HandlerModel(hooks, caller, context, code, signature, own_samples, example)
    if example is None:
        model.example = _find_example(model, samples)
    return model


def _find_example(model: HandlerModel, samples: Sequence[WarmupSample]) -> dict[str, Array] | None:
    """Made-up values that the handler takes, where it refuses those that the warm-up would send; None where it takes
    those, fails, or takes no others either."""
    try:
        shapes: Shapes = plan_requests(model.signature, samples or model.warmup_samples)[0]
    except WarmUpError:
        return None  # the warm-up says it
    if model.signature.batched:
        shapes = with_rows(shapes, 1)
    for position, fill in enumerate((*FILLS, _zeros)):
        inputs = make_inputs(model.signature, shapes, fill)
        try:
            model.predict(inputs)
        except PredictionError as error:
            if error.status >= 500:
                return None
        else:
            return inputs if position else None
    return None


def _zeros(datatype: Datatype, shape: Sequence[int], generator: np.random.Generator) -> Array:
    return np.zeros(tuple(shape), NUMPY[datatype]) if datatype in NUMPY else generate(datatype, shape, generator)


def _run(what: str, work: Callable[[], T], code: Code) -> T:
    """The handler's own words and line; the traceback goes into the log."""
    try:
        return work()
    except ModelLoadError:
        raise
    except BaseException as error:
        said = describe(error, code)
        if is_out_of_memory(error):
            raise ModelMemoryError(f"{what} of the handler: {said}") from error
        log.error("The handler does not start", exc_info=error)
        raise ModelLoadError(f"The handler failed at {what}: {said}") from error


def _device() -> str:
    """Asked of torch only when the handler imported it."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "cuda" if visible not in ("", "-1") and any(Path("/dev").glob("nvidia[0-9]*")) else "cpu"


def _read_example(hooks: Hooks, caller: Caller, signature: Signature) -> dict[str, Array] | None:
    """As one request: a single row where the handler is batched."""
    if hooks.example is None:
        return None
    item = caller.call(hooks.example)
    wanted = [spec.name for spec in signature.inputs]
    if not isinstance(item, dict) or set(item) != set(wanted):
        raise ModelLoadError(f"example() of {HANDLER_FILE} gave {item!r:.200}, expected a dict with {wanted}.")
    example = {}
    for spec in signature.inputs:
        try:
            array, _ = coerce(spec.name, item[spec.name], spec.datatype)
        except OutputError as error:
            raise ModelLoadError(f"example() of {HANDLER_FILE}: {error}") from None
        example[spec.name] = array[np.newaxis] if signature.batched else array
        if not fits(spec, example[spec.name].shape):
            raise ModelLoadError(
                f"example() of {HANDLER_FILE} gave {spec.name} with the shape {list(array.shape)}; the handler takes"
                f" {describe_tensor(spec)}{', one row of it' if signature.batched else ''}."
            )
    return example


def _describe(signature: Signature, example: Mapping[str, Array]) -> WarmupSample:
    return WarmupSample(
        inputs=[spec.model_copy(update={"shape": list(example[spec.name].shape)}) for spec in signature.inputs]
    )


def _read_signature(
    said: Any, code: Code, samples: Sequence[WarmupSample], hooks: Hooks
) -> tuple[Signature, Sequence[WarmupSample]]:
    if hooks.signature is not None:
        return check_signature_file(said, f"signature() of {HANDLER_FILE}")
    beside = code.folder / SIGNATURE_FILE
    if code.importable and beside.is_file():
        return parse_signature(beside.read_bytes(), f"{SIGNATURE_FILE} beside {HANDLER_FILE}")
    if samples:
        try:
            return signature_from_samples(samples), ()
        except SignatureError as error:
            raise ModelLoadError(str(error)) from None
    raise SignatureMissingError(
        f"Nothing says which inputs the handler takes. Either add a function signature() that returns {_EXAMPLE} with"
        f" the real names, or put that into {SIGNATURE_FILE} beside {HANDLER_FILE}, or describe one request in"
        " spec.runtime.warmup.samples (warmupSamples in the runtime's configuration)."
    )
