"""`/predict` in all its forms: lists, arrays, raw bytes, images, forms, and the answers that were asked for."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.codec import Payload
from slipway_runtime.protocol.predict import PredictCodec
from slipway_runtime.protocol.predict.image import MAX_PIXELS
from tests.unit.rt.bodies import RGB, ROWS, Y, form, joined, npy, png, refused
from tests.unit.rt.protocols import IMAGE, ONE, TEXT, TWO, signature

pytestmark = pytest.mark.unit


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
    @pytest.mark.feature("uploads")
    def test_a_float_input_gets_channels_from_0_to_1(self) -> None:
        image = predict("image/png", png(RGB), IMAGE)["image"]
        assert (image.dtype, image.shape) == (np.float32, (1, 3, 4, 5))
        np.testing.assert_array_equal(image[0], RGB.transpose(2, 0, 1).astype(np.float32) / 255)

    def test_a_damaged_tag_in_a_photograph_writes_nothing_into_the_log(self) -> None:
        """In a process of its own: here every warning is an error."""
        script = """if True:
            import io, sys
            from PIL import Image
            from slipway_runtime.contract import TensorSpec
            from slipway_runtime.protocol.predict.image import decode_image
            tags, file = Image.Exif(), io.BytesIO()
            tags[0x0112] = 6
            Image.new("RGB", (4, 5)).save(file, "JPEG", exif=tags)
            whole = file.getvalue()
            end = whole.index(b"MM\\0*") + 8
            damaged = whole[:end] + b"\\xff\\xff" + whole[end + 2 :]
            spec = TensorSpec(name="x", datatype="UINT8", shape=[-1, -1, -1, 3])
            print(decode_image(spec, damaged).shape)
        """
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
        assert (run.returncode, run.stderr) == (0, "")
        assert "3)" in run.stdout

    def test_a_uint8_input_gets_bytes_in_its_own_layout(self) -> None:
        model = signature({"image": ("UINT8", [-1, -1, -1, 3])}, {"y": ("FP32", [-1])})
        np.testing.assert_array_equal(predict("image/png", png(RGB), model)["image"][0], RGB)

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
        assert predict("image/png", png(RGB), model)["image"].shape == expected

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
        refused(lambda: predict("image/png", png(RGB), model), 422, "not_an_image_input")

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
        image = png(RGB)
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
