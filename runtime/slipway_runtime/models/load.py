"""From a file to a warm model. Every failure leaves as a `StartupError` with the reason a user acts on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from slipway_runtime.contract import FailureReason, Format, Stage, WarmupSample
from slipway_runtime.failure import StartupError
from slipway_runtime.models.detect import UnsupportedFormatError, detect_format
from slipway_runtime.models.model import DeviceMemoryError, Model
from slipway_runtime.models.signature import Signature
from slipway_runtime.models.warmup import WarmUpError, warm_up


def load_model(path: Path, expected: Format, samples: Sequence[WarmupSample]) -> Model:
    try:
        found = detect_format(path)
    except UnsupportedFormatError as error:
        raise StartupError(Stage.LOAD, FailureReason.UNSUPPORTED_FORMAT, str(error)) from None
    except OSError as error:
        raise StartupError(
            Stage.LOAD, FailureReason.MODEL_LOAD_FAILED, f"The artifact cannot be read: {error.strerror}."
        ) from None
    if expected not in (Format.AUTO, found):
        raise StartupError(
            Stage.LOAD, FailureReason.UNSUPPORTED_FORMAT, f"format: the artifact is {found}, expected {expected}."
        )
    return _load_torchscript(path, samples)


def _load_torchscript(path: Path, samples: Sequence[WarmupSample]) -> Model:
    # Imported here because torch takes seconds, during which the probes already answer.
    from slipway_runtime.models import torchscript

    try:
        return torchscript.load_torchscript(path, samples)
    except torchscript.SignatureMissingError as error:
        raise StartupError(Stage.LOAD, FailureReason.SIGNATURE_MISSING, str(error)) from error
    except torchscript.ModelLoadError as error:
        raise StartupError(Stage.LOAD, FailureReason.MODEL_LOAD_FAILED, str(error)) from error
    except (torchscript.OutOfMemoryError, MemoryError) as error:
        raise StartupError(Stage.LOAD, FailureReason.OUT_OF_MEMORY, f"The model does not fit: {error}") from error


def warm_up_model(model: Model, samples: Sequence[WarmupSample]) -> Signature:
    try:
        return warm_up(model, samples)
    except WarmUpError as error:
        out_of_memory = isinstance(error.__cause__, DeviceMemoryError)
        reason = FailureReason.OUT_OF_MEMORY if out_of_memory else FailureReason.WARM_UP_FAILED
        raise StartupError(Stage.WARM_UP, reason, str(error)) from error
    except MemoryError:
        raise StartupError(
            Stage.WARM_UP, FailureReason.OUT_OF_MEMORY, "The memory does not suffice for one prediction."
        ) from None
