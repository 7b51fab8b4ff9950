"""Requests as each dialect writes them, and answers as each is read."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.peers import Dialect, Route
from benchmarks.wire import BINARY_HEADER, http_request, numbers, read_scores
from benchmarks.workloads import WORKLOADS, Workload

pytestmark = pytest.mark.unit

TINY = Workload("tiny", "", "FP32", (2, 2), 1e-3)
ROW = np.array([[0.1, 2], [-3e-8, 4]], np.float32)


def split(request: bytes) -> tuple[list[str], dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return first.split(), dict(line.split(": ") for line in lines), body


@pytest.mark.parametrize("dialect", Dialect)
def test_a_request_is_whole_when_written(dialect: Dialect) -> None:
    words, headers, body = split(http_request(Route(path="/m/{model}", dialect=dialect), TINY, ROW))
    assert words == ["POST", "/m/tiny", "HTTP/1.1"]
    assert int(headers["Content-Length"]) == len(body)
    if dialect is Dialect.OIP_BINARY:
        length = int(headers[BINARY_HEADER])
        (tensor,) = json.loads(body[:length])["inputs"]
        assert tensor["parameters"]["binary_data_size"] == len(body) - length
        sent = np.frombuffer(body[length:], "<f4").reshape(tensor["shape"])
    elif dialect is Dialect.OIP_JSON:
        (tensor,) = json.loads(body)["inputs"]
        sent = np.asarray(tensor["data"], np.float32).reshape(tensor["shape"])
    else:
        sent = np.asarray(json.loads(body)["x"], np.float32)
    np.testing.assert_array_equal(sent, ROW[None])


def test_whole_numbers_stay_whole_when_written() -> None:
    assert numbers(np.array([1, -2], np.int64)) == "[1,-2]"
    assert WORKLOADS["encoder"].datatype == "INT64"


@pytest.mark.parametrize(
    ("dialect", "answer"),
    [
        (Dialect.PLAIN, b'{"scores": [[1, 2.5]]}'),
        (Dialect.PLAIN_LIST, b"[[1, 2.5]]"),
        (Dialect.OIP_JSON, b'{"outputs": [{"data": [1, 2.5]}]}'),
        (Dialect.OIP_BINARY, b"{}" + np.array([1, 2.5], "<f4").tobytes()),
    ],
)
def test_an_answer_gives_its_numbers_when_read(dialect: Dialect, answer: bytes) -> None:
    assert read_scores(dialect, answer, "2").ravel().tolist() == [1, 2.5]


def test_an_answer_in_json_is_no_binary_one_when_read() -> None:
    with pytest.raises(ValueError, match=BINARY_HEADER):
        read_scores(Dialect.OIP_BINARY, b"{}", None)
