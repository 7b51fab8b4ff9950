"""Questions with values of their own in every protocol, and whether an answer is theirs. Pure."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tests.soak.wire import Answer

MODEL: Final = "soak"
INFER: Final = f"/v2/models/{MODEL}/infer"
WIDTHS: Final = (1, 3, 7, 16)
"""Each is a shape of its own, which batches must keep apart."""
_DISTINCT: Final = 5_000_000
"""Below 2 ** 24 / 3, so that three times a value and one is exact in FP32."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Question:
    """`x` [rows, width], whole numbers that no other question of the last minutes has; the answer is 3 x + 1."""

    number: int
    x: Array

    @property
    def expected(self) -> Array:
        return self.x * np.float32(3) + np.float32(1)

    @property
    def request_id(self) -> str:
        return f"soak-{self.number}"


@dataclass(frozen=True)
class Encoded:
    path: str
    headers: dict[str, str]
    body: bytes
    read: Callable[[Answer], Array]
    """The values of an answer of status 200; any exception means that it is wrong."""

    def request(self, question: Question, extra: Mapping[str, str] | None = None) -> bytes:
        headers = {"Content-Length": str(len(self.body)), **self.headers, **(extra or {})}
        return head(self.path, question.request_id, headers) + self.body


def head(path: str, request_id: str, headers: Mapping[str, str], method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"X-Request-Id: {request_id}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def make_question(number: int, chance: random.Random, rows: int = 0, width: int = 0) -> Question:
    rows = rows or chance.choice((1, 1, 1, 2, 3))
    width = width or chance.choice(WIDTHS)
    begin = number * 101 % _DISTINCT
    return Question(number, np.arange(begin, begin + rows * width, dtype=np.float32).reshape(rows, width))


def oip_json(question: Question) -> Encoded:
    return Encoded(INFER, {"Content-Type": "application/json"}, json.dumps(_v2(question)).encode(), _read_v2)


def oip_gzip(question: Question) -> Encoded:
    body = gzip.compress(json.dumps(_v2(question)).encode(), 1)
    headers = {"Content-Encoding": "gzip", "Accept-Encoding": "gzip"}
    return Encoded(INFER, headers, body, _read_v2)


def oip_binary(question: Question) -> Encoded:
    document = _v2(question)
    raw = question.x.astype("<f4").tobytes()
    del document["inputs"][0]["data"]
    document["inputs"][0]["parameters"] = {"binary_data_size": len(raw)}
    document["parameters"] = {"binary_data_output": True}
    text = json.dumps(document).encode()
    headers = {"Inference-Header-Content-Length": str(len(text)), "Content-Type": "application/octet-stream"}
    return Encoded(INFER, headers, text + raw, _read_binary)


def v1(question: Question) -> Encoded:
    body = json.dumps({"instances": question.x.tolist()}).encode()
    return Encoded(f"/v1/models/{MODEL}:predict", {}, body, lambda answer: _floats(answer.json["predictions"]))


def predict_json(question: Question) -> Encoded:
    body = json.dumps(question.x.tolist()).encode()
    return Encoded("/predict", {}, body, lambda answer: _floats(answer.json["outputs"]["y"]))


def predict_npy(question: Question) -> Encoded:
    file = io.BytesIO()
    np.save(file, question.x)
    headers = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}
    return Encoded("/predict", headers, file.getvalue(), lambda answer: np.load(io.BytesIO(answer.body)))


FORMS: Final[dict[str, Callable[[Question], Encoded]]] = {
    "OIP JSON": oip_json,
    "OIP gzip": oip_gzip,
    "OIP binary": oip_binary,
    "V1": v1,
    "predict JSON": predict_json,
    "predict npy": predict_npy,
}


def _v2(question: Question) -> dict[str, Any]:
    shape = list(question.x.shape)
    data = question.x.ravel().tolist()
    return {
        "id": question.request_id,
        "inputs": [{"name": "x", "datatype": "FP32", "shape": shape, "data": data}],
    }


def _read_v2(answer: Answer) -> Array:
    body = gzip.decompress(answer.body) if answer.headers.get("content-encoding") == "gzip" else answer.body
    output = json.loads(body)["outputs"][0]
    return _floats(output["data"]).reshape(output["shape"])


def _read_binary(answer: Answer) -> Array:
    length = int(answer.headers["inference-header-content-length"])
    output = json.loads(answer.body[:length])["outputs"][0]
    return np.frombuffer(answer.body[length:], "<f4").reshape(output["shape"])


def _floats(nested: Any) -> Array:
    return np.array(nested, np.float32)
