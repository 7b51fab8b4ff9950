"""The plain requests, which are nearly all: each input with its data as numbers, flat or nested."""

from __future__ import annotations

from typing import Any

from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.codec import Buffer, Decoded
from slipway_runtime.protocol.errors import ApiError
from slipway_runtime.protocol.fastjson import DoubtError, JsonArray, JsonObject, TensorReader, read_document, scalars_of
from slipway_runtime.protocol.v2.outputs import read_outputs
from slipway_runtime.protocol.wishes import read_parameters

_KEYS = frozenset({"inputs", "id", "outputs", "parameters"})
_OUTPUT_KEYS = frozenset({"name", "parameters"})
_TENSOR_MEMBERS = 4
_REMEMBERED = 64
_REMEMBERED_BYTES = 2048


class FastReader:
    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._readers = {spec.name: TensorReader(spec) for spec in signature.inputs}
        self._outputs = tuple(spec.name for spec in signature.outputs)
        self._batched = signature.batched
        self._asked: dict[tuple[bytes, bytes], Decoded] = {}

    def decode(self, body: Buffer) -> Decoded | None:
        """None on any doubt."""
        return read_document(body, self._read)

    def _read(self, document: Any, brackets: int) -> Decoded:
        if type(document) is JsonObject and len(document) == 1:
            inputs, lists = self._read_inputs(document["inputs"])
            _check_brackets(lists, brackets)
            return Decoded(inputs, self._outputs)
        content = _members(document, _KEYS)
        request_id = content.get("id")
        if request_id is not None and type(request_id) is not str:
            raise DoubtError
        inputs, lists = self._read_inputs(content["inputs"])
        outputs, parameters = content.get("outputs"), content.get("parameters")
        _check_brackets(lists + (outputs is not None), brackets)
        if outputs is None and parameters is None:
            return Decoded(inputs, self._outputs, request_id)
        asked = self._read_asked(outputs, parameters)
        return Decoded(inputs, asked.outputs, request_id, asked.priority, asked.timeout_seconds, asked.form)

    def _read_asked(self, outputs: Any, parameters: Any) -> Decoded:
        """All but the inputs and the id. Clients ask for the same again and again, so it is remembered by its text."""
        text = _text_of(outputs, JsonArray), _text_of(parameters, JsonObject)
        asked = self._asked.get(text)
        if asked is None:
            asked = self._decode_asked(outputs, parameters)
            if len(self._asked) >= _REMEMBERED:
                self._asked.clear()
            if len(text[0]) + len(text[1]) <= _REMEMBERED_BYTES:
                self._asked[text] = asked
        return asked

    def _decode_asked(self, outputs: Any, parameters: Any) -> Decoded:
        values = {} if parameters is None else scalars_of(parameters)
        wanted = None if outputs is None else [_read_output(output) for output in outputs]
        try:
            names, form = read_outputs(wanted, values, self._signature)
            asked = Decoded({}, names, form=form)
            read_parameters(values, asked)
        except ApiError:
            raise DoubtError from None
        return asked

    def _read_inputs(self, given: Any) -> tuple[dict[str, Array], int]:
        if type(given) is not JsonArray or len(given) != len(self._readers):
            raise DoubtError
        inputs: dict[str, Array] = {}
        lists = 1
        for tensor in given:
            # As many members as are asked for by name: then each is there once, and no other.
            if type(tensor) is not JsonObject or len(tensor) != _TENSOR_MEMBERS:
                raise DoubtError
            name = tensor["name"]
            reader = self._readers[name] if type(name) is str else None
            if reader is None or tensor["datatype"] != reader.datatype:
                raise DoubtError
            shape = _read_shape(tensor["shape"])
            if not reader.fits(shape):
                raise DoubtError
            inputs[reader.name], count = reader.read(tensor["data"], shape)
            lists += 1 + count
        if len(inputs) != len(self._readers):
            raise DoubtError
        if self._batched and len(inputs) > 1 and len({array.shape[0] for array in inputs.values()}) > 1:
            raise DoubtError
        return inputs, lists


def _members(part: Any, known: frozenset[str]) -> dict[str, Any]:
    if type(part) is not JsonObject:
        raise DoubtError
    members = {key: part[key] for key in part}  # its `items` would make Python lists of the numbers
    if len(members) != len(part) or not members.keys() <= known:
        raise DoubtError
    return members


def _text_of(part: Any, kind: type[JsonArray] | type[JsonObject]) -> Any:
    """Without spaces, as bytes whatever the library's types say; the same text is the same value."""
    if part is None:
        return b""
    if type(part) is not kind:
        raise DoubtError
    return part.mini


def _read_shape(given: Any) -> tuple[int, ...]:
    """Refuses all but integers; were they nested, the brackets would tell."""
    if type(given) is not JsonArray:
        raise DoubtError
    return tuple(memoryview(given.as_buffer(of_type="i")).cast("q"))


def _read_output(output: Any) -> dict[str, Any]:
    members = _members(output, _OUTPUT_KEYS)
    if members.get("parameters") is not None:
        members["parameters"] = scalars_of(members["parameters"])
    return members


def _check_brackets(lists: int, brackets: int) -> None:
    if lists != brackets:
        raise DoubtError
