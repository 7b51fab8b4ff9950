"""Nested lists of numbers, read without a Python object for each: for `/predict` and version 1."""

from __future__ import annotations

from typing import Any

from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.codec import Buffer
from slipway_runtime.protocol.fastjson import DoubtError, JsonArray, JsonObject, TensorReader, read_document


class FastNested:
    def __init__(self, signature: Signature) -> None:
        self._readers = {spec.name: TensorReader(spec) for spec in signature.inputs}
        self._only = next(iter(self._readers.values())) if len(self._readers) == 1 else None
        self._batched = signature.batched

    def decode(self, body: Buffer) -> tuple[str, dict[str, Array]] | None:
        """The key that held the inputs (empty where the body is the list itself), and the inputs; None on any doubt."""
        return read_document(body, self._read)

    def _read(self, document: Any, brackets: int) -> tuple[str, dict[str, Array]]:
        key, value = "", document
        if type(document) is JsonObject:
            if len(document) != 1:
                raise DoubtError
            key = next(iter(document))
            if key not in ("inputs", "instances"):
                raise DoubtError
            value = document[key]
        inputs, lists = self._read_value(value, key)
        if lists != brackets:
            raise DoubtError
        return key, inputs

    def _read_value(self, value: Any, key: str) -> tuple[dict[str, Array], int]:
        if type(value) is JsonArray:
            if self._only is None:
                raise DoubtError
            array, lists = self._only.read_nested(value)
            return {self._only.name: array}, lists
        if key != "inputs" or type(value) is not JsonObject or len(value) != len(self._readers):
            raise DoubtError
        inputs: dict[str, Array] = {}
        total = 0
        for name in value:
            inputs[name], lists = self._readers[name].read_nested(value[name])
            total += lists
        if len(inputs) != len(self._readers):
            raise DoubtError
        if self._batched and len({array.shape[0] for array in inputs.values()}) > 1:
            raise DoubtError
        return inputs, total
