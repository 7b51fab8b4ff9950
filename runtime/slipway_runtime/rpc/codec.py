"""`ModelInferRequest` to arrays and arrays to `ModelInferResponse`, by the same rules and words as over REST."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from slipway_runtime.contract import Datatype
from slipway_runtime.models.datatypes import NUMPY, Array
from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.codec import Buffer, Decoded
from slipway_runtime.protocol.errors import ApiError, bad_request, unknown_model
from slipway_runtime.protocol.raw import encode_raw
from slipway_runtime.protocol.v2.answer import classify
from slipway_runtime.protocol.v2.metadata import MODEL_VERSION
from slipway_runtime.protocol.v2.request import BINARY_SIZE, SHARED_MEMORY, decode_content
from slipway_runtime.rpc.contents import Content, content_of
from slipway_runtime.rpc.messages import ModelInferRequest, ModelInferResponse
from slipway_runtime.rpc.wire import append, take_out, varint

_RAW_INPUTS: Final = 7
_RAW_OUTPUTS: Final = 6
_ID_KEY: Final = bytes([3 << 3 | 2])
"""Fields of the protocol that are handled apart from the rest of their messages."""
_PLANS: Final = 64
_PLAN_BYTES: Final = 4096
"""Messages that are remembered: so many, and no longer than this without their tensors."""
_CHECKED: Final = frozenset({Datatype.BYTES, Datatype.BOOL})
"""Their bytes have rules of their own."""
_FINAL: Final = "triton_final_response"
_WANTS_FINAL: Final = "triton_enable_empty_final_response"


class _Part(NamedTuple):
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    size_bytes: int


class _Plan(NamedTuple):
    """Requests whose tensors are all raw differ only in these bytes. What the rest of the message said is kept."""

    parts: tuple[_Part, ...]
    template: Decoded


class GrpcCodec:
    """For one model; used from the loop's thread."""

    protocol = "grpc"

    def __init__(self, name: str, signature: Signature) -> None:
        self._name = name
        self._signature = signature
        self._specs = {spec.name: spec for spec in signature.outputs}
        self._plans: dict[bytes, _Plan] = {}
        self._head = lru_cache(256)(self._make_head)

    def decode(self, message: bytes) -> Decoded:
        """The inputs are views of `message` where they came raw. Raises `ApiError` for everything that does not fit."""
        split = take_out(message, _RAW_INPUTS)
        if split is None:
            return self._decode(_parse(message), [])
        head, raw = split
        plan = self._plans.get(head)
        if plan is not None:
            decoded = _follow(plan, raw)
            if decoded is not None:
                return decoded
        request = _parse(head)
        decoded = self._decode(request, raw)
        if raw and len(head) <= _PLAN_BYTES:
            self._remember(head, request, decoded)
        return decoded

    def _decode(self, request: Any, raw: list[memoryview]) -> Decoded:
        self.check_model(request.model_name, request.model_version)
        content, tensors = _content(request, raw)
        joined = tensors[0] if len(tensors) == 1 else memoryview(b"".join(tensors))
        decoded = decode_content(content, joined, self._signature)
        final = _WANTS_FINAL in request.parameters and request.parameters[_WANTS_FINAL].bool_param
        return replace(decoded, form=(decoded.form, final))

    def _remember(self, head: bytes, request: Any, decoded: Decoded) -> None:
        datatypes = {spec.name: spec.datatype for spec in self._signature.inputs}
        parts = []
        for tensor in request.inputs:
            array = decoded.inputs[tensor.name]
            if not array.size or datatypes[tensor.name] in _CHECKED:
                return
            parts.append(_Part(tensor.name, NUMPY[datatypes[tensor.name]], array.shape, array.nbytes))
        if len(self._plans) >= _PLANS:
            self._plans.clear()
        self._plans[head] = _Plan(tuple(parts), replace(decoded, inputs={}))

    def check_model(self, name: str, version: str) -> None:
        if name != self._name:
            raise unknown_model(name, self._name)
        if version not in ("", MODEL_VERSION):
            raise ApiError(
                404,
                "version_not_found",
                f"Model {name!r} has no version {version[:100]!r}, expected {MODEL_VERSION!r} or none.",
            )

    def encode(self, decoded: Decoded, outputs: Mapping[str, Array]) -> bytes:
        """A whole `ModelInferResponse`; `outputs` are not needed any more."""
        forms, final = decoded.form
        tensors = []
        raw: list[Buffer] = []
        for position, name in enumerate(decoded.outputs):
            spec, array = self._specs[name], outputs[name]
            datatype = spec.datatype
            classes = forms[position].classes if forms else 0
            if classes:
                array, datatype = classify(spec, array, classes), Datatype.BYTES
            tensors.append((name, datatype, array.shape))
            raw.append(encode_raw(datatype, array))
        head: bytes = self._head(tuple(tensors), final)
        if decoded.id:
            text = decoded.id.encode()
            head = b"".join((head, _ID_KEY, varint(len(text)), text))
        return append(head, _RAW_OUTPUTS, raw)

    def _make_head(self, tensors: tuple[tuple[str, Datatype, tuple[int, ...]], ...], final: bool) -> bytes:
        response = ModelInferResponse(model_name=self._name, model_version=MODEL_VERSION)
        for name, datatype, shape in tensors:
            response.outputs.add(name=name, datatype=datatype, shape=shape)
        if final:
            response.parameters[_FINAL].bool_param = True
        head: bytes = response.SerializeToString()
        return head


def _parse(message: bytes) -> Any:
    try:
        return ModelInferRequest.FromString(message)
    except DecodeError:
        raise bad_request(
            "invalid_message", "The message is no inference.ModelInferRequest: protobuf cannot read it."
        ) from None


def _follow(plan: _Plan, raw: list[memoryview]) -> Decoded | None:
    """None when the tensors have other sizes than the plan's."""
    known = plan.template
    if len(raw) != len(plan.parts):
        return None
    inputs: dict[str, Array] = {}
    for (name, dtype, shape, size_bytes), data in zip(plan.parts, raw, strict=True):
        if len(data) != size_bytes:
            return None
        inputs[name] = np.frombuffer(data, dtype).reshape(shape)
    return Decoded(inputs, known.outputs, known.id, known.priority, known.timeout_seconds, known.form)


def _content(request: Any, raw: list[memoryview]) -> tuple[dict[str, Any], list[memoryview]]:
    """The request as its JSON would be, and the tensors that would lie behind it."""
    raw = raw or [memoryview(data) for data in request.raw_input_contents]
    tensors = _Tensors(request, raw)
    content: dict[str, Any] = {
        "parameters": _parameters(request.parameters),
        "inputs": [tensors.describe(tensor) for tensor in request.inputs],
        "outputs": [{"name": output.name, "parameters": _parameters(output.parameters)} for output in request.outputs],
    }
    if request.id:
        content["id"] = request.id
    return content, tensors.taken


class _Tensors:
    """Deals out the raw contents, one for each input."""

    def __init__(self, request: Any, raw: list[memoryview]) -> None:
        in_memory = sum(SHARED_MEMORY in tensor.parameters for tensor in request.inputs)
        wanted = len(request.inputs) - in_memory
        if raw and len(raw) != wanted:
            raise bad_request(
                "size_mismatch",
                f"raw_input_contents has {len(raw)} entries, expected one for each of the {wanted} inputs, or none.",
            )
        self._raw = iter(raw) if raw else None
        self.taken: list[memoryview] = []

    def describe(self, tensor: Any) -> Content:
        parameters = _parameters(tensor.parameters)
        parameters.pop(BINARY_SIZE, None)
        described: Content = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
            "parameters": parameters,
        }
        if SHARED_MEMORY in tensor.parameters:
            parameters.setdefault(SHARED_MEMORY, None)  # it may have come without a value
            return described
        if self._raw is None:
            given = content_of(tensor)
            if isinstance(given, list):
                described["data"] = given
                return described
        elif tensor.contents.ListFields():
            raise bad_request(
                "invalid_field",
                f"Input {tensor.name!r} has contents beside the request's raw_input_contents, expected one of them.",
                input=tensor.name,
            )
        else:
            given = next(self._raw)
        self.taken.append(given)
        parameters[BINARY_SIZE] = len(given)
        return described


def _parameters(given: Any) -> dict[str, Any]:
    parameters = {}
    for name, parameter in given.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is not None:
            parameters[name] = getattr(parameter, choice)
    return parameters
