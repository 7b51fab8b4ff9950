"""The codec of the `infer` routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.codec import Buffer, Decoded, Headers, Payload
from slipway_runtime.protocol.errors import ApiError, bad_request
from slipway_runtime.protocol.fastjson import MIN_DEPTH
from slipway_runtime.protocol.jsontext import MAX_DEPTH, parse_object
from slipway_runtime.protocol.mediatypes import check_json
from slipway_runtime.protocol.raw import decode_whole_body
from slipway_runtime.protocol.v2.answer import AnswerWriter
from slipway_runtime.protocol.v2.fast import FastReader
from slipway_runtime.protocol.v2.form import BINARY_FORM
from slipway_runtime.protocol.v2.plan import BinaryPlan, plan_of
from slipway_runtime.protocol.v2.request import decode_content
from slipway_runtime.protocol.wishes import read_headers

BINARY_HEADER: Final = b"inference-header-content-length"
_CONTENT_TYPE: Final = b"content-type"
_MAX_DIGITS: Final = 18
_PLANS: Final = 64
_PLAN_BYTES: Final = 4096
"""JSON parts that are remembered: so many, and no longer than this."""


class V2Codec:
    """For one model. Any thread may use it."""

    protocol = "v2"

    def __init__(self, name: str, signature: Signature, *, max_json_depth: int = MAX_DEPTH) -> None:
        self._signature = signature
        self._max_depth = max_json_depth
        self._fast = FastReader(signature) if max_json_depth >= MIN_DEPTH else None
        self._answers = AnswerWriter(name, signature)
        self._plans: dict[bytes, BinaryPlan] = {}

    def takes_long(self, headers: Headers) -> bool:
        return False

    def decode(self, headers: Headers, body: Buffer) -> Decoded:
        length = headers.get(BINARY_HEADER)
        if length is not None:
            decoded = self._decode_binary(_header_length(length, len(body)), body)
        else:
            check_json(headers.get(_CONTENT_TYPE))
            decoded = self._decode_json(body)
        read_headers(headers, decoded)
        return decoded

    def encode(self, decoded: Decoded, outputs: Mapping[str, Array]) -> Payload:
        return self._answers.write(decoded, outputs)

    def _decode_json(self, body: Buffer) -> Decoded:
        decoded = self._fast.decode(body) if self._fast else None
        if decoded is None:
            decoded = decode_content(parse_object(body, self._max_depth), memoryview(b""), self._signature)
        return decoded

    def _decode_binary(self, length: int, body: Buffer) -> Decoded:
        if not length:
            inputs = decode_whole_body(self._signature, body)
            names = tuple(spec.name for spec in self._signature.outputs)
            return Decoded(inputs, names, form=(BINARY_FORM,) * len(names))
        view = memoryview(body)
        head, raw = bytes(view[:length]), view[length:]
        plan = self._plans.get(head)
        if plan is not None:
            decoded = plan.decode(raw)
            if decoded is not None:
                return decoded
        content = parse_object(head, self._max_depth)
        decoded = decode_content(content, raw, self._signature)
        if length <= _PLAN_BYTES:
            self._remember(head, plan_of(content, decoded, self._signature))
        return decoded

    def _remember(self, head: bytes, plan: BinaryPlan | None) -> None:
        if plan is None:
            return
        if len(self._plans) >= _PLANS:
            self._plans.clear()
        self._plans[head] = plan


def _header_length(value: bytes, size_bytes: int) -> int:
    text = value.strip()
    if not text.isdigit() or len(text) > _MAX_DIGITS:
        raise _bad_length(value, "expected the length of the JSON part in bytes")
    if int(text) > size_bytes:
        raise _bad_length(value, f"but the body has {size_bytes} bytes")
    return int(text)


def _bad_length(value: bytes, detail: str) -> ApiError:
    return bad_request(
        "bad_inference_header",
        f"Inference-Header-Content-Length is {value[:40].decode('latin-1')!r}, {detail}.",
    )
