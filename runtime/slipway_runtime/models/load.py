"""From a file to a warm model. Every failure leaves as a `StartupError` with the reason a user acts on."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from slipway_runtime.contract import FailureReason, Format, Stage, TuningConfig, WarmupSample
from slipway_runtime.failure import StartupError
from slipway_runtime.models.detect import UnsupportedFormatError, detect_format
from slipway_runtime.models.model import DeviceMemoryError, Model
from slipway_runtime.models.signature import Signature
from slipway_runtime.models.signaturefile import ModelLoadError, ModelMemoryError, SignatureMissingError
from slipway_runtime.models.warmup import WarmUpError, warm_up


def load_model(
    path: Path,
    expected: Format,
    samples: Sequence[WarmupSample],
    tuning: TuningConfig | None = None,
    *,
    variant: str | None = None,
) -> Model:
    """`tuning` looks for the fastest way to run the model; None runs the artifact as it is.

    `variant` is the one that another load of this artifact on this hardware chose (`properties["variant"]`): it is
    built again and not measured.
    """
    found = _detect(path, expected)
    try:
        return _load(found, path, samples, tuning, variant)
    except SignatureMissingError as error:
        raise StartupError(Stage.LOAD, FailureReason.SIGNATURE_MISSING, str(error)) from error
    except ModelLoadError as error:
        raise StartupError(Stage.LOAD, FailureReason.MODEL_LOAD_FAILED, str(error)) from error
    except (ModelMemoryError, MemoryError) as error:
        raise StartupError(Stage.LOAD, FailureReason.OUT_OF_MEMORY, f"The model does not fit: {error}") from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = FailureReason.NO_SPACE_LEFT if full else FailureReason.MODEL_LOAD_FAILED
        raise StartupError(Stage.LOAD, reason, f"The artifact cannot be unpacked: {error.strerror}.") from error


def _detect(path: Path, expected: Format) -> Format:
    if expected is Format.PYTHON:
        return expected  # code runs because it was asked for by name, not because a file looks like it
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
    return found


def _load(
    found: Format, path: Path, samples: Sequence[WarmupSample], tuning: TuningConfig | None, variant: str | None
) -> Model:
    # Imported here because torch takes seconds, during which the probes already answer.
    if found is Format.PYTHON:
        from slipway_runtime.models.handler.load import load_handler

        return load_handler(path, samples)

    from slipway_runtime.models.torchscript import load_torchscript

    if tuning is None or not tuning.enabled:
        return load_torchscript(path, samples)

    from slipway_runtime.models.tuning.choice import parse_choice
    from slipway_runtime.models.tuning.tune import release_memory, tune

    model = tune(load_torchscript(path, samples), samples, tuning, path=path, known=parse_choice(variant))
    release_memory()
    return model


def warm_up_model(model: Model, samples: Sequence[WarmupSample]) -> Signature:
    try:
        signature = warm_up(model, samples)
    except WarmUpError as error:
        out_of_memory = isinstance(error.__cause__, DeviceMemoryError)
        reason = FailureReason.OUT_OF_MEMORY if out_of_memory else FailureReason.WARM_UP_FAILED
        raise StartupError(Stage.WARM_UP, reason, str(error)) from error
    except MemoryError:
        raise StartupError(
            Stage.WARM_UP, FailureReason.OUT_OF_MEMORY, "The memory does not suffice for one prediction."
        ) from None
    wrong = model.health()
    if wrong is not None:
        raise StartupError(
            Stage.WARM_UP, FailureReason.WARM_UP_FAILED, f"The handler says that it is not well: {wrong}"
        )
    return signature
