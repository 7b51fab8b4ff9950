"""Requests that differ in their numbers alone, read and written together.

A client asks again and again with the same text around other numbers. Once such a text is known, a body is recognised
by its first and last bytes, the numbers of all requests of a batch are parsed as one list, and the answers are cut out
of one list again. What does not fit exactly is left to the codec, which decides about it as if there were no templates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np
import orjson

from slipway_runtime.contract import Datatype, TensorSpec
from slipway_runtime.models.datatypes import NUMPY, Array
from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.codec import Codec
from slipway_runtime.protocol.errors import ApiError
from slipway_runtime.protocol.fastjson import read_numbers

_NUMBERS: Final = frozenset(
    {Datatype.FP32, Datatype.FP64, Datatype.INT32, Datatype.INT64, Datatype.INT16, Datatype.UINT8}
)
_DATA: Final = re.compile(rb'"data"\s*:\s*(?:\[\s*)+')
_ANSWERED: Final = re.compile(rb'(?<="data":\[)[^\]]*(?=\])')
_MOST_ELEMENTS: Final = 1024
"""Of a request: with more of them, what is saved around the numbers is next to nothing."""
_MOST_ANSWERED: Final = 256
_NUMBER_BYTES: Final = 25
"""The longest that a number becomes as JSON, with its comma."""


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """One text. A body of it is `prefix`, numbers with commas between them, and `suffix`."""

    prefix: bytes
    suffix: bytes
    rows: int
    commas: int
    """Between the numbers of one request."""
    pieces: tuple[bytes, ...]
    """The answer's text around the numbers of each output."""
    longest_answer_bytes: int


def split(body: bytes) -> tuple[bytes, int, bytes] | None:
    """The text before and behind what may be numbers, and how many they may be."""
    found = _DATA.search(body)
    if found is None:
        return None
    start = found.end()
    end = body.find(b"]", start)
    return None if end < 0 else (body[:start], body.count(b",", start, end) + 1, body[end:])


class Templates:
    """For one model, whose requests are rows of one tensor of numbers, and its answers too."""

    def __init__(self, codec: Codec, signature: Signature) -> None:
        self._codec = codec
        self._input = signature.inputs[0]
        self._outputs = signature.outputs
        self._row = tuple(self._input.shape[1:])
        self._elements = prod(self._row)
        self._expected = [(spec.name, np.dtype(NUMPY[spec.datatype]), tuple(spec.shape[1:])) for spec in self._outputs]

    @staticmethod
    def fit(signature: Signature) -> bool:
        return (
            signature.batched
            and len(signature.inputs) == 1
            and 0 < prod(signature.inputs[0].shape[1:]) <= _MOST_ELEMENTS
            and all(map(_is_rows_of_numbers, (*signature.inputs, *signature.outputs)))
            and 0 < sum(prod(spec.shape[1:]) for spec in signature.outputs) <= _MOST_ANSWERED
        )

    def learn(self, prefix: bytes, size: int, suffix: bytes) -> Template | None:
        """`size` numbers were seen between the two. None where they are not the input's data, or where the answer is
        asked for in another form."""
        if not 0 < size <= _MOST_ELEMENTS:
            return None
        numbers = [position % 100 for position in range(size)]
        try:
            decoded = self._codec.decode({}, prefix + b",".join(b"%d" % number for number in numbers) + suffix)
        except ApiError:
            return None
        array = decoded.inputs[self._input.name]
        if array.shape[1:] != self._row or array.reshape(-1).tolist() != numbers:
            return None
        names = tuple(spec.name for spec in self._outputs)
        if decoded.outputs != names or decoded.form is not None or decoded.priority or decoded.timeout_seconds:
            return None
        rows = array.shape[0]
        outputs = {name: np.zeros((rows, *shape), dtype) for name, dtype, shape in self._expected}
        text = b"".join(self._codec.encode(decoded, outputs).parts)
        pieces = tuple(_ANSWERED.split(text))
        if len(pieces) != len(names) + 1:
            return None
        longest = sum(map(len, pieces)) + _NUMBER_BYTES * sum(output.size for output in outputs.values())
        return Template(prefix, suffix, rows, size - 1, pieces, longest)

    def decode(self, texts: Sequence[bytes]) -> Array | None:
        """All numbers as rows. `texts` have as many commas as their templates say; None where that is not all."""
        numbers = read_numbers(b"[%b]" % b",".join(texts), self._input.datatype)
        return None if numbers is None or numbers.size % self._elements else numbers.reshape(-1, *self._row)

    def encode(self, outputs: Mapping[str, Array], rows: int) -> list[list[bytes]] | None:
        """Of each output the texts of its first rows; None where they are not what the signature says, or where a
        number is not finite."""
        texts = []
        for name, dtype, shape in self._expected:
            array = outputs[name]
            if array.dtype != dtype or array.shape[1:] != shape:
                return None
            flat = np.ascontiguousarray(array[:rows].reshape(rows, -1))
            text = orjson.dumps(flat, option=orjson.OPT_SERIALIZE_NUMPY)
            if b"null" in text:
                return None
            texts.append(text[2:-2].split(b"],["))
        return texts


def _is_rows_of_numbers(spec: TensorSpec) -> bool:
    return spec.datatype in _NUMBERS and spec.shape[0] == -1 and min(spec.shape[1:], default=-1) > 0
