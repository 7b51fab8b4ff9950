"""Warm-up samples from a file, in a pod a key of a ConfigMap: held to what the API holds a manifest's own to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from slipway_runtime.contract import (
    DIMENSION_SIZE_LIMIT,
    DIMENSIONS_LIMIT,
    WARMUP_DIRECTORY,
    WARMUP_INPUTS_LIMIT,
    WARMUP_SAMPLES_LIMIT,
    Datatype,
    FailureReason,
    Stage,
    TensorSpec,
    WarmupSample,
    Wire,
)
from slipway_runtime.failure import StartupError

_LIMIT_BYTES: Final = 1024 * 1024
"""No ConfigMap is larger."""
_FAULTS_SHOWN: Final = 3
_EXAMPLE: Final = '[{"inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 28, 28]}]}]'


def _check_size(size: int) -> int:
    if size == 0:
        raise ValueError("expected -1 or at least 1. Write -1 for a size that varies")
    return size


class _Input(Wire):
    name: Annotated[str, Field(min_length=1, max_length=253)]
    datatype: Datatype = Datatype.FP32
    shape: Annotated[
        list[Annotated[int, Field(ge=-1, le=DIMENSION_SIZE_LIMIT), AfterValidator(_check_size)]],
        Field(min_length=1, max_length=DIMENSIONS_LIMIT),
    ]


def _check_names(inputs: list[_Input]) -> list[_Input]:
    names = [given.name for given in inputs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"the name {twice!r} is given twice. Name each input once")
    return inputs


class _Sample(Wire):
    inputs: Annotated[list[_Input], Field(min_length=1, max_length=WARMUP_INPUTS_LIMIT), AfterValidator(_check_names)]


_SAMPLES: Final = TypeAdapter(Annotated[list[_Sample], Field(min_length=1, max_length=WARMUP_SAMPLES_LIMIT)])


def read_samples(path: str) -> list[WarmupSample]:
    """The samples in the order of the file. Raises `StartupError`, which names the ConfigMap and the key in a pod."""
    content, where = _read(path), describe_place(path)
    try:
        samples = _SAMPLES.validate_json(content, strict=True)
    except ValidationError as invalid:
        raise _invalid(f"{where}: {_describe(invalid)}") from None
    return [
        WarmupSample(
            inputs=[TensorSpec(name=given.name, datatype=given.datatype, shape=given.shape) for given in sample.inputs]
        )
        for sample in samples
    ]


def describe_place(path: str) -> str:
    """As a user knows it."""
    reference = _reference(path)
    return f"warmupSamplesPath: {path}" if reference is None else f"ConfigMap {reference[0]}, key {reference[1]}"


def _reference(path: str) -> tuple[str, str] | None:
    """Name and key of the ConfigMap; None outside a pod."""
    if not path.startswith(f"{WARMUP_DIRECTORY}/"):
        return None
    name, _, key = path.removeprefix(f"{WARMUP_DIRECTORY}/").partition("/")
    return name, key


def _read(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            content = file.read(_LIMIT_BYTES + 1)
    except (OSError, ValueError) as error:
        raise _invalid(_missing(path, error)) from None
    if len(content) > _LIMIT_BYTES:
        raise _invalid(f"{describe_place(path)}: got more than {_LIMIT_BYTES} bytes. Samples are shapes, not values.")
    return content


def _missing(path: str, error: Exception) -> str:
    reference = _reference(path)
    if reference is None or not isinstance(error, FileNotFoundError):
        said = error.strerror if isinstance(error, OSError) else error
        return f"{describe_place(path)}: cannot be read: {said}. Name a JSON file with a list such as {_EXAMPLE}."
    name, key = reference
    return (
        f"There is no ConfigMap {name} with the key {key}, which spec.runtime.warmup.configMapRef names. Make it, in"
        f" the namespace of the ModelDeployment: kubectl create configmap {name} --from-file={key}; or correct the name"
        " or the key."
    )


def _describe(invalid: ValidationError) -> str:
    """One line; only paths, rules and short values are shown."""
    faults = invalid.errors(include_url=False, include_context=False)
    shown = [_describe_fault(fault) for fault in faults[:_FAULTS_SHOWN]]
    if len(faults) > _FAULTS_SHOWN:
        shown.append(f"and {len(faults) - _FAULTS_SHOWN} more")
    return f"{'; '.join(shown)}. Expected a list such as {_EXAMPLE}."


def _describe_fault(fault: ErrorDetails) -> str:
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in fault["loc"])
    value, told = fault["input"], fault["msg"].removeprefix("Value error, ")
    structure = isinstance(value, dict | list | bytes) or fault["type"] == "missing"
    return ": ".join(part for part in (path, "" if structure else f"got {repr(value)[:80]}", told) if part)


def _invalid(message: str) -> StartupError:
    return StartupError(Stage.CONFIG, FailureReason.INVALID_CONFIG, message)
