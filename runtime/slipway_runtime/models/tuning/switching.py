"""Two forms of one model: the one that is faster for few rows, and the one that is faster for many."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from slipway_runtime.contract import Datatype
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.torchscript import TorchScriptModel
from slipway_runtime.models.tuning.onnxmodel import OnnxModel

OneForm = TorchScriptModel | OnnxModel


class SwitchingModel:
    """Of a batched signature. Used from one thread at a time."""

    example = None

    def __init__(self, lone: OneForm, many: OneForm, from_rows: int) -> None:
        """`many` runs batches of at least `from_rows` rows."""
        self.format = lone.format
        self.signature = lone.signature
        self.device = lone.device
        self.warmup_samples = lone.warmup_samples
        self.properties: Mapping[str, str] = MappingProxyType({})
        self._forms = (lone, many)
        self._last = lone
        self._from_rows = from_rows
        self._counted = lone.signature.inputs[0].name

    @property
    def output_datatypes(self) -> Mapping[str, Datatype]:
        return self._last.output_datatypes

    def predict(
        self,
        inputs: Mapping[str, Array],
        out: Mapping[str, Array] | None = None,
        limit_seconds: float | None = None,
    ) -> dict[str, Array]:
        self._last = self._forms[len(inputs[self._counted]) >= self._from_rows]
        return self._last.predict(inputs, out, limit_seconds)

    def health(self) -> str | None:
        return next((wrong for form in self._forms if (wrong := form.health()) is not None), None)

    def close(self) -> None:
        for form in self._forms:
            form.close()
