"""Outputs as nested lists by name: the answers of `/predict` and of version 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.tensors import dump_array, has_null, to_json_values


class NestedWriter:
    def __init__(self, signature: Signature) -> None:
        self._specs = {spec.name: spec for spec in signature.outputs}
        self._keys = {name: orjson.dumps(name) + b":" for name in self._specs}

    @staticmethod
    def dump(text: str) -> bytes:
        return orjson.dumps(text)

    def value(self, name: str, array: Array) -> tuple[bytes, bool]:
        """One output's lists, and whether null stands there for what is not finite."""
        values = to_json_values(self._specs[name], array)
        data = dump_array(values)
        return data, has_null(values, data)

    def by_name(self, names: Sequence[str], outputs: Mapping[str, Array]) -> tuple[bytes, list[str]]:
        """An object of all, and the names of those with null for what is not finite."""
        parts = []
        non_finite = []
        for name in names:
            data, marked = self.value(name, outputs[name])
            parts.append(self._keys[name] + data)
            if marked:
                non_finite.append(name)
        return b"{%s}" % b",".join(parts), non_finite

    def rows(self, name: str, array: Array) -> tuple[list[bytes], bool]:
        """One member `"name":lists` for each row, and whether null stands there for what is not finite."""
        values = to_json_values(self._specs[name], array)
        row_shape = values.shape[1:]
        lines = [dump_array(values[row : row + 1].reshape(row_shape)) for row in range(len(values))]
        return [self._keys[name] + line for line in lines], any(has_null(values, line) for line in lines)

    def mark(self, non_finite: Sequence[str]) -> bytes:
        """The member of the answer that names them; empty where there are none."""
        return b',"nonFinite":' + orjson.dumps(non_finite) if non_finite else b""
