"""A `PredictionError` as JSON, and back: the class by its name, the message, the rows where they failed apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from slipway_runtime.engines.worker.wire import BrokenMessageError
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.model import (
    DeviceMemoryError,
    OutputError,
    PredictionError,
    RejectedInputError,
    RowError,
    RowsFailedError,
)

_KINDS: Final = {kind.__name__: kind for kind in (DeviceMemoryError, OutputError, PredictionError, RejectedInputError)}
_MESSAGE_LIMIT: Final = 4000
"""Characters; the libraries' essence is shorter."""


def encode_fault(error: PredictionError) -> dict[str, Any]:
    if isinstance(error, RowsFailedError):
        return {"rows": {str(position): asdict(reason) for position, reason in error.rows.items()}}
    return {"kind": type(error).__name__, "message": str(error)[:_MESSAGE_LIMIT]}


def decode_fault(fields: Mapping[str, Any], outputs: Mapping[str, Array]) -> PredictionError:
    """Raises `BrokenMessageError`."""
    try:
        if "rows" in fields:
            rows = {int(position): RowError(**reason) for position, reason in fields["rows"].items()}
            return RowsFailedError(rows, outputs)
        return _KINDS.get(fields["kind"], PredictionError)(fields["message"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BrokenMessageError(f"no description of an error: {error}") from None
