"""What the server needs of a model, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from slipway_runtime.contract import Format, WarmupSample
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.signature import Signature


class PredictionError(Exception):
    """The model itself failed. The message holds the essential words of the library that ran it, no traceback."""


class OutputError(PredictionError):
    """The model answered with something else than its signature says, or than the protocol can carry."""


class DeviceMemoryError(PredictionError):
    """The device's memory did not suffice."""


class Model(Protocol):
    """Used from one thread at a time."""

    @property
    def format(self) -> Format: ...

    @property
    def device(self) -> str:
        """`cpu` or `cuda`."""

    @property
    def signature(self) -> Signature:
        """Outputs may be empty until the warm-up has learned them."""

    @property
    def warmup_samples(self) -> Sequence[WarmupSample]:
        """Requests that the artifact itself proposes for its warm-up."""

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """`inputs` fit the signature and are borrowed for the call; the outputs are the caller's. Raises
        `PredictionError`."""
