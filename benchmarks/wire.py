"""How a row is asked for and where the answer has its numbers, for each dialect."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

import numpy as np

from benchmarks.peers import Dialect, Route
from benchmarks.workloads import INPUT, OUTPUT, Workload

BINARY_HEADER: Final = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class AnswerPlace:
    """As the generator's plan names it."""

    kind: str
    key: str

    def as_plan(self) -> dict[str, str]:
        return {"kind": self.kind, "key": self.key}


ANSWERS: Final = {
    Dialect.PLAIN: AnswerPlace("json", OUTPUT),
    Dialect.PLAIN_LIST: AnswerPlace("json", ""),
    Dialect.OIP_JSON: AnswerPlace("json", "data"),
    Dialect.OIP_BINARY: AnswerPlace("binary", ""),
}


def http_request(route: Route, workload: Workload, row: np.ndarray[Any, Any]) -> bytes:
    """A whole POST for one row, headers included."""
    body, headers = _body(route.dialect, workload, row)
    lines = [
        f"POST {route.path.format(model=workload.name)} HTTP/1.1",
        "Host: 127.0.0.1",
        *(f"{name}: {value}" for name, value in headers.items()),
        f"Content-Length: {len(body)}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def _body(dialect: Dialect, workload: Workload, row: np.ndarray[Any, Any]) -> tuple[bytes, dict[str, str]]:
    json_type = {"Content-Type": "application/json"}
    if dialect in (Dialect.PLAIN, Dialect.PLAIN_LIST):
        return f'{{"{INPUT}":[{numbers(row)}]}}'.encode(), json_type
    tensor: dict[str, Any] = {"name": INPUT, "shape": [1, *workload.row_shape], "datatype": workload.datatype}
    if dialect is Dialect.OIP_JSON:
        head = json.dumps(tensor)[:-1]
        return f'{{"inputs":[{head}, "data":[{numbers(row.reshape(-1))[1:-1]}]}}]}}'.encode(), json_type
    data = row.astype(row.dtype.newbyteorder("<")).tobytes()
    tensor["parameters"] = {"binary_data_size": len(data)}
    wanted = [{"name": OUTPUT, "parameters": {"binary_data": True}}]
    header = json.dumps({"inputs": [tensor], "outputs": wanted}).encode()
    return header + data, {"Content-Type": "application/octet-stream", BINARY_HEADER: str(len(header))}


def numbers(row: np.ndarray[Any, Any]) -> str:
    """Nested JSON lists with the fewest digits that give the same float32 again."""
    if row.ndim > 1:
        return "[" + ",".join(numbers(part) for part in row) + "]"
    return "[" + ",".join(map(str, row)) + "]"


def ask(
    port: int, route: Route, workload: Workload, row: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]
) -> str | None:
    """Ask once and read the answer with other code than the generator's; None when it is right, else what is not."""
    body, headers = _body(route.dialect, workload, row)
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", route.path.format(model=workload.name), body, headers)
        response = connection.getresponse()
        answer = response.read()
    except (OSError, HTTPException) as error:
        return f"{type(error).__name__}: {error}."
    finally:
        connection.close()
    if response.status != 200:
        return f"Status {response.status}: {answer[:200].decode(errors='replace')}."
    try:
        scores = read_scores(route.dialect, answer, response.getheader(BINARY_HEADER))
    except (ValueError, KeyError, IndexError, TypeError) as error:
        return f"The answer {answer[:200]!r} is not {route.dialect}: {error!r}."
    if scores.size != expected.size or not np.allclose(
        scores.ravel(), expected, workload.tolerance, workload.tolerance
    ):
        return f"Answered {scores.tolist()}, expected {expected.tolist()}."
    return None


def read_scores(dialect: Dialect, answer: bytes, json_length: str | None) -> np.ndarray[Any, Any]:
    """The numbers of one answer. Raises `ValueError`, `KeyError`, `IndexError` or `TypeError` when it has none."""
    if dialect is Dialect.OIP_BINARY:
        if json_length is None:
            raise ValueError(f"no {BINARY_HEADER}")
        return np.frombuffer(answer[int(json_length) :], "<f4")
    content = json.loads(answer)
    if dialect is Dialect.PLAIN:
        content = content[OUTPUT]
    elif dialect is Dialect.OIP_JSON:
        content = content["outputs"][0]["data"]
    return np.asarray(content, np.float32)
