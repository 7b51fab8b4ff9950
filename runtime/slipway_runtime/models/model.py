"""What the server needs of a model, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from slipway_runtime.contract import Datatype, Format, WarmupSample
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.signature import Signature


class PredictionError(Exception):
    """The model itself failed. The message holds the essential words of the library that ran it, no traceback.

    `status` and `code` are what a client is told when its request was alone in the batch; in a larger batch another
    request may be the cause.
    """

    status: int = 500
    code: str = "model_error"
    detail: str | None = None
    """What the model's author needs and a client must not read."""


class OutputError(PredictionError):
    """The model answered with something else than its signature says, or than the protocol can carry."""

    code = "output_mismatch"


class DeviceMemoryError(PredictionError):
    """The device's memory did not suffice."""

    code = "device_out_of_memory"


class RejectedInputError(PredictionError):
    """The handler does not take these inputs, and says why in words for the client."""

    status = 400
    code = "handler_rejected"


@dataclass(frozen=True, slots=True)
class RowError:
    """Why one row of a batch has no answer. The words are for the client."""

    status: int
    """An HTTP status from 400 to 599."""
    code: str
    message: str

    def __post_init__(self) -> None:
        if not 400 <= self.status <= 599:
            raise TypeError(f"status: got {self.status}, expected an HTTP status from 400 to 599.")


class RowsFailedError(PredictionError):
    """Some rows failed, each for its own reason, and the others were answered. Running the batch again would not help.

    `rows` maps the position of each failed row to its error. `outputs` has as many rows as the batch had, with values
    of no meaning at the failed ones; it is empty when every row failed. An engine hands on both: the error, and the
    outputs as those of the batch.
    """

    def __init__(self, rows: Mapping[int, RowError], outputs: Mapping[str, Array]) -> None:
        first = rows[min(rows)]
        super().__init__(f"{len(rows)} rows failed, the first one because: {first.message}")
        self.rows = dict(rows)
        self.outputs = dict(outputs)
        self.status = first.status
        self.code = first.code


class Model(Protocol):
    """Used from one thread at a time; a model with an event loop of its own must not be called from another's."""

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

    @property
    def example(self) -> Mapping[str, Array] | None:
        """One request with values that the model proposes for its warm-up: one row where it is batched. None: values
        are generated."""

    @property
    def properties(self) -> Mapping[str, str]:
        """For people: how the model is run and why so. See `LoadedModel.properties`."""

    @property
    def output_datatypes(self) -> Mapping[str, Datatype]:
        """Of the outputs that were given last, where an array's element type does not tell: BF16 travels as uint16."""

    def predict(
        self,
        inputs: Mapping[str, Array],
        out: Mapping[str, Array] | None = None,
        limit_seconds: float | None = None,
    ) -> dict[str, Array]:
        """`inputs` fit the signature and are borrowed for the call; the outputs are the caller's.

        An array of `out` that has an output's name, shape and element type is written to and is then that output, so
        that the caller need not copy it to where it belongs. `limit_seconds` tells a handler how long it has; the
        engine enforces it. Raises `PredictionError`; `RowsFailedError` carries outputs of the rows that did not fail.
        """

    def health(self) -> str | None:
        """What is wrong in the model's own words, or None while it can predict."""

    def close(self) -> None:
        """The model is used no more. Runs its teardown; raises nothing."""
