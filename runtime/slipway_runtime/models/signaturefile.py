"""`slipway.json`: what an artifact says about its own inputs and outputs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from pydantic import ValidationError

from slipway_runtime.contract import TensorSpec, WarmupSample, Wire
from slipway_runtime.models.signature import Signature, check_signature

SIGNATURE_FILE: Final = "slipway.json"
"""An extra file inside a TorchScript archive; a file beside a handler."""


class ModelLoadError(Exception):
    """The artifact cannot be loaded, or cannot be called as its signature says."""


class SignatureMissingError(Exception):
    """Neither the artifact nor the configuration says which inputs the model takes."""


class ModelMemoryError(Exception):
    """The model does not fit into the memory of the device."""


class SignatureFile(Wire):
    """What an artifact says about itself."""

    inputs: list[TensorSpec]
    outputs: list[TensorSpec] = []
    warmup_samples: list[WarmupSample] = []
    """Requests that the model answers, where a size that varies cannot be 1."""


def parse_signature(content: bytes | str, where: str) -> tuple[Signature, Sequence[WarmupSample]]:
    """From JSON. Raises `ModelLoadError`, which begins with `where`."""
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelLoadError(f"{where}: {error}") from None
    return check_signature_file(parsed, where)


def check_signature_file(content: Any, where: str) -> tuple[Signature, Sequence[WarmupSample]]:
    """From what JSON gives. Raises `ModelLoadError`, which begins with `where`."""
    try:
        file = SignatureFile.model_validate(content)
        signature = Signature(tuple(file.inputs), tuple(file.outputs))
        check_signature(signature)
    except ValidationError as invalid:
        fault = invalid.errors(include_url=False)[0]
        place = ".".join(str(step) for step in fault["loc"])
        raise ModelLoadError(f"{where}: {place}: {fault['msg']}.") from None
    except ValueError as error:
        raise ModelLoadError(f"{where}: {error}") from None
    return signature, file.warmup_samples
