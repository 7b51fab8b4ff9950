"""Requests to the model `Linear` and its answers."""

from __future__ import annotations

from typing import Any

import httpx

INFER = "/v2/models/linear/infer"
X = {"name": "x", "datatype": "FP32", "shape": [2, 4], "data": [1, 0, 0, 0, 0, 1, 0, 0]}
SCORES = [0.5, 3.5, 8.0, 1.5, 4.5, 9.0]


def request_with(**changes: Any) -> dict[str, Any]:
    """The good request with one input changed; a value of None takes a key away."""
    tensor = {key: value for key, value in {**X, **changes}.items() if value is not None}
    return {"inputs": [tensor]}


def check_error(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    assert (response.status_code, body["code"]) == (status, code), body
    assert isinstance(body["error"], str)
    assert body["error"]
    assert body["model"] == "linear"
    assert body["request_id"] == response.headers["x-request-id"]
    assert "Traceback" not in response.text
    return body
