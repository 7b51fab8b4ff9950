"""The protocol's extensions: binary tensors, compressed bodies, classification."""

from __future__ import annotations

import gzip
import json
from typing import Any

import httpx
import numpy as np
import pytest

from slipway_runtime.protocol.compression import compress
from tests.runtime.linear import INFER, SCORES, X, check_error, request_with

pytestmark = [pytest.mark.runtime, pytest.mark.timeout(300)]


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_takes_and_gives_compressed_bodies(client: httpx.Client, encoding: str) -> None:
    many = request_with(shape=[200, 4], data=[1, 0, 0, 0] * 200)
    body = b"".join(compress([json.dumps(many).encode()], encoding.encode()))
    response = client.post(INFER, content=body, headers={"Content-Encoding": encoding, "Accept-Encoding": encoding})
    assert response.headers["content-encoding"] == encoding
    assert response.json()["outputs"][0]["data"] == SCORES[:3] * 200


@pytest.mark.feature("body-limit")
@pytest.mark.parametrize(
    ("encoding", "body", "status", "code"),
    [
        ("br", b"{}", 415, "unsupported_encoding"),
        ("gzip", b"\x1f\x8b", 400, "invalid_encoding"),
        ("gzip", gzip.compress(b" " * 70_000, mtime=0), 413, "decompressed_too_large"),
    ],
)
def test_refuses_an_encoded_body(client: httpx.Client, encoding: str, body: bytes, status: int, code: str) -> None:
    check_error(client.post(INFER, content=body, headers={"Content-Encoding": encoding}), status, code)
    assert client.post(INFER, json={"inputs": [X]}).status_code == 200


def binary(tensor: dict[str, Any], raw: bytes, *, length: str | None = None, **content: Any) -> dict[str, Any]:
    """What httpx posts."""
    head = json.dumps({"inputs": [tensor], **content}).encode()
    name = "Inference-Header-Content-Length"
    return {"content": head + raw, "headers": {name: str(len(head)) if length is None else length}}


BINARY_X = {"name": "x", "datatype": "FP32", "shape": [2, 4], "parameters": {"binary_data_size": 32}}
RAW_X = np.array([[1, 0, 0, 0], [0, 1, 0, 0]], np.float32).tobytes()


def test_takes_binary_tensors_and_answers_as_asked(client: httpx.Client) -> None:
    plain = client.post(INFER, **binary(BINARY_X, RAW_X))
    assert plain.json()["outputs"][0]["data"] == SCORES
    assert "inference-header-content-length" not in plain.headers
    for _ in range(2):
        response = client.post(INFER, **binary(BINARY_X, RAW_X, parameters={"binary_data_output": True}))
        length = int(response.headers["inference-header-content-length"])
        output = json.loads(response.content[:length])["outputs"][0]
        assert output == {"name": "scores", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": 24}}
        assert np.frombuffer(response.content[length:], np.float32).tolist() == SCORES


def test_takes_a_raw_body_for_a_model_with_one_input(client: httpx.Client) -> None:
    response = client.post(INFER, content=RAW_X, headers={"INFERENCE-HEADER-CONTENT-LENGTH": "0"})
    length = int(response.headers["inference-header-content-length"])
    assert np.frombuffer(response.content[length:], np.float32).tolist() == SCORES


def test_takes_a_binary_tensor_without_elements(client: httpx.Client) -> None:
    empty = {**BINARY_X, "shape": [0, 4], "parameters": {"binary_data_size": 0}}
    assert client.post(INFER, **binary(empty, b"")).json()["outputs"][0]["shape"] == [0, 3]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (binary(BINARY_X, RAW_X, length="100000"), "bad_inference_header"),
        (binary(BINARY_X, RAW_X, length="-1"), "bad_inference_header"),
        (binary(BINARY_X, RAW_X, length="ten"), "bad_inference_header"),
        (binary(BINARY_X, RAW_X, length=""), "bad_inference_header"),
        (binary(BINARY_X, RAW_X, length="9" * 30), "bad_inference_header"),
        (binary(BINARY_X, RAW_X, length="7"), "invalid_json"),
        (binary(BINARY_X, RAW_X, length="0"), "size_mismatch"),
        (binary(BINARY_X, RAW_X[:-1]), "size_mismatch"),
        (binary(BINARY_X, RAW_X + b"\0"), "size_mismatch"),
        (binary(X, RAW_X), "size_mismatch"),
        (binary({**BINARY_X, "data": [1] * 8}, RAW_X), "invalid_field"),
        (binary({**BINARY_X, "shape": [1, 4]}, RAW_X), "size_mismatch"),
        (binary({**BINARY_X, "datatype": "FP16"}, RAW_X), "datatype_mismatch"),
    ],
)
def test_refuses_binary_tensors_that_do_not_fit(client: httpx.Client, request_: dict[str, Any], code: str) -> None:
    check_error(client.post(INFER, **request_), 400, code)


def test_classifies(client: httpx.Client) -> None:
    outputs = [{"name": "scores", "parameters": {"classification": 2}}]
    answer = client.post(INFER, json={"inputs": [X], "outputs": outputs}).json()["outputs"][0]
    assert answer == {
        "name": "scores",
        "datatype": "BYTES",
        "shape": [2, 2],
        "data": ["8.0:2", "3.5:1", "9.0:2", "4.5:1"],
    }
