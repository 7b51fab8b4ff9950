"""The codecs of every inference route: what is taken, what is answered, and that nothing but `ApiError` leaves them."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.codec import Codec, Decoded, Payload
from slipway_runtime.protocol.errors import ApiError
from slipway_runtime.protocol.predict import PredictCodec
from slipway_runtime.protocol.predict.image import MAX_PIXELS
from slipway_runtime.protocol.routes import codecs_for
from slipway_runtime.protocol.v1 import V1Codec
from slipway_runtime.protocol.v2 import V2Codec
from tests.unit.rt.protocols import IMAGE, ONE, TEXT, TWO, outcome, signature

pytestmark = pytest.mark.unit

SOME = settings(max_examples=200, deadline=None)
ROWS = np.array([[1, 2], [3, 4]], np.float32)
Y = np.array([[0.5, 1, 2], [3, 4, 5]], np.float32)


def joined(payload: Payload) -> bytes:
    return b"".join(payload.parts)


def npy(array: Array, **options: Any) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **options)
    return file.getvalue()


def png(pixels: Array, mode: str | None = None, format_: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels, mode).save(file, format_, **options) if mode else Image.fromarray(pixels).save(
        file, format_, **options
    )
    return file.getvalue()


def form(*parts: tuple[str, str, bytes]) -> tuple[bytes, bytes]:
    """Content-Type and body; each part has further headers and content."""
    lines = [
        b"--cut\r\nContent-Disposition: form-data; name=%s\r\n\r\n%s\r\n" % ((name + headers).encode(), body)
        for name, headers, body in parts
    ]
    return b"multipart/form-data; boundary=cut", b"".join(lines) + b"--cut--\r\n"


def refused(decode: Any, status: int, code: str) -> ApiError:
    with pytest.raises(ApiError) as caught:
        decode()
    assert (caught.value.status, caught.value.code) == (status, code), caught.value.message
    return caught.value


def predict(content_type: str, body: bytes, model: Signature = ONE, **headers: str) -> dict[str, Array]:
    given_ = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    decoded = PredictCodec("m", model).decode({b"content-type": content_type.encode(), **given_}, body)
    return dict(decoded.inputs)


class TestPredictInputs:
    def test_npy_is_a_view_where_the_types_are_the_same(self) -> None:
        body = npy(ROWS)
        x = predict("application/x-npy", body)["x"]
        np.testing.assert_array_equal(x, ROWS)
        assert np.shares_memory(x, np.frombuffer(body, np.uint8))

    @pytest.mark.parametrize("dtype", ["f8", ">f4", "i8", "u1", "f2"])
    def test_npy_of_another_number_type_is_converted(self, dtype: str) -> None:
        x = predict("application/x-npy", npy(ROWS.astype(dtype)))["x"]
        assert x.dtype == np.float32
        np.testing.assert_array_equal(x, ROWS)

    @pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
    def test_npy_is_read_in_each_version_of_the_format(self, version: tuple[int, int]) -> None:
        np.testing.assert_array_equal(predict("application/x-npy", npy(ROWS, version=version))["x"], ROWS)

    def test_npy_in_columns_is_put_in_rows(self) -> None:
        x = predict("application/x-npy", npy(np.asfortranarray(ROWS)))["x"]
        assert x.flags.c_contiguous
        np.testing.assert_array_equal(x, ROWS)

    def test_npy_of_text_is_taken_for_bytes(self) -> None:
        assert predict("application/x-npy", npy(np.array(["a", "é"])), TEXT)["s"].tolist() == [b"a", "é".encode()]

    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            (b"", 400, "invalid_npy"),
            (b"\x93NUMPY", 400, "invalid_npy"),
            (b"\x93NUMPY\x09\x00" + bytes(20), 400, "invalid_npy"),
            (npy(ROWS)[:-1], 422, "size_mismatch"),
            (npy(ROWS) + b"\0", 422, "size_mismatch"),
            (npy(np.ones((2, 3), np.float32)), 422, "shape_mismatch"),
            (npy(np.array([[True, False]])), 422, "datatype_mismatch"),
            (npy(np.array([[1e300, 0]])), 422, "out_of_range"),
            (npy(np.array([["a", "b"]])), 422, "datatype_mismatch"),
            (npy(np.array([[{}, 1]], object), allow_pickle=True), 400, "invalid_npy"),
            (npy(np.zeros((1, 2), "f4,f4")), 400, "invalid_npy"),
            (npy(ROWS).replace(b"<f4", b"<f3"), 400, "invalid_npy"),
            (npy(ROWS).replace(b"False", b"\0\0\0\0\0"), 400, "invalid_npy"),
            (npy(ROWS).replace(b"(2, 2)", b"(2, -)"), 400, "invalid_npy"),
            (npy(ROWS).replace(b"\x76\x00{", b"\xff\xff{"), 400, "invalid_npy"),
        ],
    )
    def test_npy_that_does_not_fit_is_refused(self, body: bytes, status: int, code: str) -> None:
        refused(lambda: predict("application/x-npy", body), status, code)

    def test_raw_bytes_are_as_many_rows_as_they_hold(self) -> None:
        np.testing.assert_array_equal(predict("application/octet-stream", ROWS.tobytes())["x"], ROWS)
        refused(lambda: predict("application/octet-stream", ROWS.tobytes()[:-1]), 422, "size_mismatch")
        refused(lambda: predict("application/octet-stream", b""), 422, "size_mismatch")

    def test_an_input_of_bytes_takes_any_body_as_one_element(self) -> None:
        for kind in ("application/octet-stream", "audio/wav", "image/png", "text/plain"):
            assert predict(kind, b"\xff\x00", TEXT)["s"].tolist() == [b"\xff\x00"]

    def test_a_model_of_several_inputs_takes_no_single_array(self) -> None:
        assert (
            "multipart" in refused(lambda: predict("application/x-npy", npy(ROWS), TWO), 422, "missing_input").message
        )

    def test_another_media_type_is_refused(self) -> None:
        assert "multipart" in refused(lambda: predict("text/csv", b"1,2"), 415, "unsupported_media_type").message


class TestImages:
    RGB = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)

    @pytest.mark.feature("uploads")
    def test_a_float_input_gets_channels_from_0_to_1(self) -> None:
        image = predict("image/png", png(self.RGB), IMAGE)["image"]
        assert (image.dtype, image.shape) == (np.float32, (1, 3, 4, 5))
        np.testing.assert_array_equal(image[0], self.RGB.transpose(2, 0, 1).astype(np.float32) / 255)

    def test_a_uint8_input_gets_bytes_in_its_own_layout(self) -> None:
        model = signature({"image": ("UINT8", [-1, -1, -1, 3])}, {"y": ("FP32", [-1])})
        np.testing.assert_array_equal(predict("image/png", png(self.RGB), model)["image"][0], self.RGB)

    @pytest.mark.parametrize(
        ("datatype", "shape", "expected"),
        [
            ("UINT8", [-1, 4, 5], (1, 4, 5)),
            ("FP16", [1, 4, 4, 5], (1, 4, 4, 5)),
            ("BF16", [-1, 8, 5, 1], (1, 8, 5, 1)),
            ("FP64", [3, 8, 16], (3, 8, 16)),
        ],
    )
    def test_the_signature_says_channels_and_size(
        self, datatype: str, shape: list[int], expected: tuple[int, ...]
    ) -> None:
        model = signature({"image": (datatype, shape)}, {"y": ("FP32", [-1])})
        assert predict("image/png", png(self.RGB), model)["image"].shape == expected

    @pytest.mark.parametrize(
        ("datatype", "shape"),
        [
            ("INT32", [-1, 3, 4, 5]),
            ("FP32", [-1, 2]),
            ("FP32", [2, 3, 4, 5]),
            ("FP32", [-1, 3, 4, 3]),
            ("FP32", [-1] * 5),
        ],
    )
    def test_an_input_that_is_no_image_is_refused(self, datatype: str, shape: list[int]) -> None:
        model = signature({"image": (datatype, shape)}, {"y": ("FP32", [-1])})
        refused(lambda: predict("image/png", png(self.RGB), model), 422, "not_an_image_input")

    def test_a_photograph_is_turned_upright_and_resized(self) -> None:
        model = signature({"image": ("UINT8", [-1, -1, -1, 3])}, {"y": ("FP32", [-1])})
        exif = Image.Exif()
        exif[0x0112] = 6
        tall = predict("image/jpeg", png(np.zeros((8, 16, 3), np.uint8), format_="JPEG", exif=exif), model)["image"]
        assert tall.shape == (1, 16, 8, 3)
        large = png(np.full((400, 500, 3), 200, np.uint8), format_="JPEG")
        assert abs(float(predict("image/jpeg", large, IMAGE)["image"].mean()) - 200 / 255) < 0.01

    @pytest.mark.parametrize("body", [b"", b"no image", b"\x89PNG\r\n\x1a\n", png(RGB)[:-30], b"%PDF-1.4"])
    def test_a_body_that_is_no_image_is_refused(self, body: bytes) -> None:
        refused(lambda: predict("image/png", body, IMAGE), 400, "invalid_image")

    def test_an_image_of_too_many_pixels_is_refused_unread(self) -> None:
        side = int(MAX_PIXELS**0.5) + 1
        bomb = png(np.zeros((side, side), np.uint8))
        assert len(bomb) < 200_000
        refused(lambda: predict("image/png", bomb, IMAGE), 413, "image_too_large")


class TestForms:
    def test_each_part_is_an_input_of_its_own_kind(self) -> None:
        content_type, body = form(("x", "\r\nContent-Type: application/x-npy", npy(ROWS)), ("n", "", b"[1, 2]"))
        inputs = predict(content_type.decode(), body, TWO)
        np.testing.assert_array_equal(inputs["x"], ROWS)
        assert inputs["n"].tolist() == [1, 2]

    def test_parts_of_one_name_are_a_batch(self) -> None:
        image = png(TestImages.RGB)
        content_type, body = form(*[("image", '; filename="a.png"\r\nContent-Type: image/png', image)] * 3)
        assert predict(content_type.decode(), body, IMAGE)["image"].shape == (3, 3, 4, 5)

    def test_an_uploaded_npy_file_is_known_by_its_name(self) -> None:
        head = '; filename="x.npy"\r\nContent-Type: application/octet-stream'
        content_type, body = form(("x", head, npy(ROWS)))
        np.testing.assert_array_equal(predict(content_type.decode(), body)["x"], ROWS)
        content_type, body = form(("x", head.replace(".npy", ".bin"), ROWS.tobytes()))
        np.testing.assert_array_equal(predict(content_type.decode(), body)["x"], ROWS)

    @pytest.mark.parametrize(
        ("parts", "status", "code"),
        [
            ([], 422, "missing_input"),
            ([("q", "", b"[[1,2]]")], 422, "unknown_input"),
            ([("x", "", b"[[1,2]]")], 422, "missing_input"),
            ([("x", "", b"[[1,2]")], 400, "invalid_json"),
            ([("x", "", b"[[1,2]]"), ("n", "", b"[1,2]")], 422, "shape_mismatch"),
            ([("x", "\r\nContent-Type: text/csv", b"1")], 415, "unsupported_media_type"),
        ],
    )
    def test_a_form_that_does_not_fit_is_refused(
        self, parts: list[tuple[str, str, bytes]], status: int, code: str
    ) -> None:
        content_type, body = form(*parts)
        refused(lambda: predict(content_type.decode(), body, TWO), status, code)

    @pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=other"])
    def test_a_form_without_its_boundary_is_refused(self, content_type: str) -> None:
        refused(lambda: predict(content_type, form(("x", "", b"[[1,2]]"))[1]), 400, "invalid_multipart")


class TestPredictAnswers:
    def answer(self, accept: str | None, model: Signature = ONE, **outputs: Array) -> Payload:
        codec = PredictCodec("m", model)
        headers = {} if accept is None else {b"accept": accept.encode()}
        body = b'{"inputs":{"x":[[1,2]],"n":[1]}}' if model is TWO else b"[[1,2]]"
        return codec.encode(codec.decode(headers, body), outputs or {"y": Y})

    @pytest.mark.parametrize("accept", [None, "*/*", "application/json", "text/html, */*;q=0.1"])
    def test_json_is_the_answer_of_choice(self, accept: str | None) -> None:
        payload = self.answer(accept)
        assert payload.content_type == b"application/json"
        assert json.loads(joined(payload)) == {"model": "m", "outputs": {"y": Y.tolist()}}

    def test_an_array_is_answered_when_it_is_asked_for(self) -> None:
        payload = self.answer("application/x-npy")
        np.testing.assert_array_equal(np.load(io.BytesIO(joined(payload)), allow_pickle=False), Y)
        payload = self.answer("application/octet-stream")
        assert joined(payload) == Y.tobytes()
        assert (b"X-Tensor-Shape", b"2,3") in payload.headers

    @pytest.mark.parametrize(("accept", "model"), [("image/png", ONE), ("application/x-npy", TWO), ("text/html", ONE)])
    def test_an_answer_that_cannot_be_given_is_refused_before_the_work(self, accept: str, model: Signature) -> None:
        refused(lambda: self.answer(accept, model), 406, "not_acceptable")

    def test_bf16_and_scalars_are_numbers(self) -> None:
        model = signature({"x": ("FP32", [-1, 2])}, {"y": ("BF16", [])})
        one = np.array(0x3F80, np.uint16)
        assert json.loads(joined(self.answer(None, model, y=one)))["outputs"] == {"y": 1.0}
        assert np.load(io.BytesIO(joined(self.answer("application/x-npy", model, y=one)))) == np.float32(1)


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
        png(TestImages.RGB),
        png(TestImages.RGB, format_="JPEG"),
        png(TestImages.RGB, format_="WEBP"),
        png(TestImages.RGB, format_="GIF"),
        png(TestImages.RGB, format_="BMP"),
        form(("x", "", b"[[1,2]]"))[1],
        form(("image", "\r\nContent-Type: image/png", png(TestImages.RGB)))[1],
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
