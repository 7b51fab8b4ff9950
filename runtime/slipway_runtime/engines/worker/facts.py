"""A `LoadedModel` as JSON, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from pydantic import TypeAdapter

from slipway_runtime.contract import Format, TensorSpec
from slipway_runtime.engines.engine import LoadedModel
from slipway_runtime.engines.worker.wire import BrokenMessageError
from slipway_runtime.models.signature import Signature

_SPECS: Final = TypeAdapter(tuple[TensorSpec, ...])


def encode_model(loaded: LoadedModel) -> dict[str, Any]:
    fields = asdict(loaded)
    fields["signature"] = {"inputs": _dump(loaded.signature.inputs), "outputs": _dump(loaded.signature.outputs)}
    fields["points"] = {str(size): list(runs) for size, runs in loaded.points.items()}
    return fields


def decode_model(fields: Mapping[str, Any]) -> LoadedModel:
    """Raises `BrokenMessageError`."""
    try:
        signature = fields["signature"]
        inputs, outputs = (_SPECS.validate_python(signature[part]) for part in ("inputs", "outputs"))
        return LoadedModel(
            **{
                **fields,
                "format": Format(fields["format"]),
                "signature": Signature(inputs, outputs),
                "points": {int(size): tuple(runs) for size, runs in fields["points"].items()},
                "bucket": tuple(tuple(shape) for shape in fields["bucket"]),
            }
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BrokenMessageError(f"no description of a model: {error}") from None


def _dump(specs: Sequence[TensorSpec]) -> Any:
    return _SPECS.dump_python(tuple(specs), mode="json")
