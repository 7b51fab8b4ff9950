"""The codecs of every inference route: what is taken, what is answered, and that nothing but `ApiError` leaves them."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.codec import Codec, Decoded
from slipway_runtime.protocol.errors import ApiError
from slipway_runtime.protocol.predict import PredictCodec
from slipway_runtime.protocol.routes import codecs_for
from slipway_runtime.protocol.v1 import V1Codec
from slipway_runtime.protocol.v2 import V2Codec
from tests.unit.rt.bodies import RGB, ROWS, Y, form, joined, npy, png, refused
from tests.unit.rt.protocols import IMAGE, ONE, TEXT, TWO, outcome, signature

pytestmark = pytest.mark.unit

SOME = settings(max_examples=200, deadline=None)


class TestV1:
    def ask(self, content: object, model: Signature = ONE, **outputs: Array) -> tuple[Decoded, Any]:
        codec = V1Codec(model)
        decoded = codec.decode({}, json.dumps(content).encode())
        return decoded, json.loads(
            joined(codec.encode(decoded, outputs or {"y": Y}))
        ) if outputs or model is ONE else {}

    def test_rows_are_answered_with_predictions(self) -> None:
        decoded, answer = self.ask({"signature_name": "serving_default", "instances": ROWS.tolist()})
        np.testing.assert_array_equal(decoded.inputs["x"], ROWS)
        assert answer == {"predictions": Y.tolist()}
        assert self.ask({"instances": [{"x": [1, 2]}, {"x": [3, 4]}]})[1] == {"predictions": Y.tolist()}

    def test_columns_are_answered_with_outputs(self) -> None:
        for content in ({"inputs": ROWS.tolist()}, {"inputs": {"x": ROWS.tolist()}}):
            decoded, answer = self.ask(content)
            np.testing.assert_array_equal(decoded.inputs["x"], ROWS)
            assert answer == {"outputs": Y.tolist()}

    def test_several_outputs_are_objects_by_name(self) -> None:
        rows = [{"x": [1, 2], "n": 1}, {"x": [3, 4], "n": 2}]
        outputs = {"y": np.array([0.5, np.nan], np.float32), "z": np.array([[1, 2], [3, 4]])}
        assert self.ask({"instances": rows}, TWO, **outputs)[1] == {
            "predictions": [{"y": 0.5, "z": [1, 2]}, {"y": None, "z": [3, 4]}],
            "nonFinite": ["y"],
        }
        columns = {"inputs": {"x": ROWS.tolist(), "n": [1, 2]}}
        assert self.ask(columns, TWO, **outputs)[1]["outputs"] == {"y": [0.5, None], "z": [[1, 2], [3, 4]]}

    @pytest.mark.feature("v1-predict")
    def test_base64_objects_are_bytes(self) -> None:
        word = base64.b64encode(b"\xffa").decode()
        decoded, answer = self.ask({"instances": [{"b64": word}, "b"]}, TEXT, t=np.array([b"\xff", b"c"], object))
        assert decoded.inputs["s"].tolist() == [b"\xffa", b"b"]
        assert answer == {"predictions": [{"b64": base64.b64encode(b"\xff").decode()}, "c"]}
        row = base64.b64encode(ROWS[0].tobytes()).decode()
        for content in (
            {"instances": [{"b64": row}]},
            {"instances": [{"x": {"b64": row}}]},
            {"inputs": [{"b64": row}]},
        ):
            np.testing.assert_array_equal(self.ask(content)[0].inputs["x"], ROWS[:1])

    @pytest.mark.parametrize(
        ("content", "code"),
        [
            ([], "invalid_json"),
            ({}, "missing_field"),
            ({"instances": [[1, 2]], "inputs": [[1, 2]]}, "missing_field"),
            ({"instances": {"x": [[1, 2]]}}, "invalid_field"),
            ({"instances": []}, "missing_field"),
            ({"instances": [[1, 2, 3]]}, "shape_mismatch"),
            ({"instances": [[1, 2]], "signature_name": "other"}, "unknown_signature"),
            ({"instances": [[1, 2]], "signature_name": 5}, "unknown_signature"),
            ({"instances": [{"b64": "!"}]}, "invalid_data"),
            ({"instances": [{"b64": 5}]}, "invalid_data"),
            ({"instances": [{"b64": "AAAA"}]}, "size_mismatch"),
        ],
    )
    def test_what_does_not_fit_is_refused_with_400(self, content: object, code: str) -> None:
        refused(lambda: self.ask(content), 400, code)


class TestV2:
    @pytest.mark.parametrize(("level", "priority"), [(0, 0), (1, 1), (2, 0), (3, -1), (9, -1)])
    def test_priority_and_timeout_come_from_parameters_or_headers(self, level: int, priority: int) -> None:
        content: dict[str, Any] = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
        codec = V2Codec("m", ONE)
        given_ = {**content, "parameters": {"priority": level, "timeout": 2_500_000}}
        decoded = codec.decode({}, json.dumps(given_).encode())
        assert (decoded.priority, decoded.timeout_seconds) == (priority, 2.5)
        headers = {b"x-priority": str(level).encode(), b"x-request-timeout-ms": b"1500"}
        for other in (codec, V1Codec(ONE), PredictCodec("m", ONE)):
            body = json.dumps(content if other is codec else {"inputs": [[1, 2]]}).encode()
            decoded = other.decode(headers, body)
            assert (decoded.priority, decoded.timeout_seconds) == (priority, 1.5)
        refused(lambda: codec.decode({b"x-priority": b"high"}, json.dumps(content).encode()), 400, "invalid_header")

    def test_bytes_and_bools_travel_in_binary(self) -> None:
        model = signature({"s": ("BYTES", [-1]), "b": ("BOOL", [-1])}, {"t": ("BYTES", [-1])})
        raw = b"\x01\0\0\0a\0\0\0\0" + b"\x01\0"
        head = json.dumps(
            {
                "inputs": [
                    {"name": "s", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 9}},
                    {"name": "b", "datatype": "BOOL", "shape": [2], "parameters": {"binary_data_size": 2}},
                ],
                "outputs": [{"name": "t", "parameters": {"binary_data": True}}],
            }
        ).encode()
        headers = {b"inference-header-content-length": str(len(head)).encode()}
        codec = V2Codec("m", model)
        decoded = codec.decode(headers, head + raw)
        assert decoded.inputs["s"].tolist() == [b"a", b""]
        assert decoded.inputs["b"].tolist() == [True, False]
        payload = codec.encode(decoded, {"t": decoded.inputs["s"]})
        assert payload.parts[1] == raw[:9]
        refused(lambda: codec.decode(headers, head + raw[:-1] + b"\x02"), 400, "invalid_data")
        refused(lambda: codec.decode(headers, head + b"\xff\0\0\0a\0\0\0\0" + raw[9:]), 400, "size_mismatch")
        refused(lambda: codec.decode(headers, head + b"\x02\0\0\0a\0\0\0\0" + raw[9:]), 400, "size_mismatch")

    @pytest.mark.feature("one-copy")
    def test_binary_tensors_are_views_each_time(self) -> None:
        codec = V2Codec("m", ONE)
        head = json.dumps(
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": 16}}]}
        ).encode()
        headers = {b"inference-header-content-length": str(len(head)).encode()}
        for factor in (1, 2, 3):
            body = bytearray(head + (ROWS * np.float32(factor)).tobytes())
            x = codec.decode(headers, body).inputs["x"]
            np.testing.assert_array_equal(x, ROWS * factor)
            assert np.shares_memory(x, np.frombuffer(body, np.uint8))
            refused(lambda body=body: codec.decode(headers, body[:-1]), 400, "size_mismatch")

    def test_numbers_are_as_short_as_they_can_be(self) -> None:
        codec = V2Codec("m", ONE)
        payload = codec.encode(Decoded({}, ("y",)), {"y": np.array([[0.1, 1e-7, 3]], np.float32)})
        assert b'"data":[0.1,1e-7,3.0]' in joined(payload)


def test_every_inference_route_has_its_codec() -> None:
    assert {path: codec.protocol for path, codec in codecs_for("a b", ONE).items()} == {
        b"/v2/models/a b/infer": "v2",
        b"/v2/models/a b/versions/1/infer": "v2",
        b"/v1/models/a b:predict": "v1",
        b"/v1/models/a b/versions/1:predict": "v1",
        b"/predict": "predict",
        b"/models/a b/predict": "predict",
    }


def test_images_are_decoded_beside_the_loop() -> None:
    codec = PredictCodec("m", IMAGE)
    for content_type, expected in ((b"image/png", True), (b"multipart/form-data; boundary=x", True), (b"", False)):
        assert codec.takes_long({b"content-type": content_type}) is expected


BODIES = st.binary(max_size=60) | st.sampled_from(
    [
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}',
        b'{"instances":[[1,2]]}',
        b'{"instances":[{"b64":"AAAAAAAAAAA="}]}',
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}}]}' + bytes(8),
        b'{"inputs":[{"name":"s","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":5}}]}\1\0\0\0a',
        npy(ROWS),
        png(RGB),
        png(RGB, format_="JPEG"),
        png(RGB, format_="WEBP"),
        png(RGB, format_="GIF"),
        png(RGB, format_="BMP"),
        form(("x", "", b"[[1,2]]"))[1],
        form(("image", "\r\nContent-Type: image/png", png(RGB)))[1],
    ]
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        b"content-type": st.sampled_from(
            [
                b"application/json",
                b"application/x-npy",
                b"application/octet-stream",
                b"image/png",
                b"image/webp",
                b"multipart/form-data; boundary=cut",
                b"multipart/form-data; boundary=" + b"x" * 300,
                b"text/plain",
            ]
        )
        | st.binary(max_size=20),
        b"inference-header-content-length": st.integers(-2, 120).map(lambda n: str(n).encode()) | st.binary(max_size=4),
        b"accept": st.sampled_from([b"*/*", b"application/x-npy", b"image/png"]) | st.binary(max_size=12),
        b"x-priority": st.sampled_from([b"1", b"3"]) | st.binary(max_size=4),
        b"x-request-timeout-ms": st.sampled_from([b"100", b"0"]) | st.binary(max_size=4),
    },
)
CODECS = [codec for model in (ONE, TWO, TEXT, IMAGE) for codec in {**codecs_for("m", model)}.values()]


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from(CODECS), HEADERS, BODIES, st.data())
def test_any_request_is_decoded_or_refused_in_words(
    codec: Codec, headers: dict[bytes, bytes], body: bytes, data: st.DataObject
) -> None:
    mutated = bytearray(body)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(mutated)))
        mutated[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    decoded = outcome(lambda: codec.decode(headers, bytes(mutated)))
    if isinstance(decoded, ApiError):
        assert decoded.status in (400, 406, 413, 415, 422)
        assert decoded.message
        json.dumps(decoded.body(request_id="r", model="m"))
    else:
        assert decoded.inputs
