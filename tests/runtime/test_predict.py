"""`/predict` and its page: nested lists by name."""

from __future__ import annotations

import io
import re
from typing import Any

import httpx
import numpy as np
import pytest

pytestmark = [pytest.mark.runtime, pytest.mark.timeout(300)]

ROWS = [[1, 0, 0, 0], [0, 1, 0, 0]]
ANSWER = {"model": "linear", "outputs": {"scores": [[0.5, 3.5, 8.0], [1.5, 4.5, 9.0]]}}
MIXED = {"numbers": [[1, 2]], "indices": [[1, 2, 3]], "flags": [[True, False]]}


@pytest.mark.parametrize(
    "content",
    [{"inputs": {"x": ROWS}}, {"inputs": ROWS}, {"instances": ROWS}, {"instances": [{"x": r} for r in ROWS]}, ROWS],
)
def test_takes_one_input_in_each_form(client: httpx.Client, content: object) -> None:
    response = client.post("/predict", json=content)
    assert (response.status_code, response.json()) == (200, ANSWER)


def test_takes_what_curl_sends_when_told_nothing(client: httpx.Client) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert client.post("/predict", content=b"[[1,0,0,0]]", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "content", [{"inputs": MIXED}, {"instances": [{name: rows[0] for name, rows in MIXED.items()}]}]
)
def test_takes_several_inputs(mixed_client: httpx.Client, content: object) -> None:
    outputs = mixed_client.post("/predict", json=content).json()["outputs"]
    assert outputs == {"sums": [9.0], "counts": [1], "inverse": [[1.0, 0.5]], "halves": [[0.5, 1.0]], "any": [True]}


def test_answers_null_for_what_is_not_finite(mixed_client: httpx.Client) -> None:
    body = mixed_client.post("/predict", json={"inputs": {**MIXED, "numbers": [[0, 2]]}}).json()
    assert body["outputs"]["inverse"] == [[None, 0.5]]
    assert body["nonFinite"] == ["inverse"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({}, "missing_field"),
        ({"inputs": ROWS, "instances": ROWS}, "missing_field"),
        ({"inputs": {}}, "missing_input"),
        ({"inputs": {"y": ROWS}}, "unknown_input"),
        ({"inputs": {"x": ROWS, "y": ROWS}}, "unknown_input"),
        ({"inputs": [1, 0, 0, 0]}, "shape_mismatch"),
        ({"inputs": [[[1, 0, 0, 0]]]}, "shape_mismatch"),
        ({"inputs": []}, "shape_mismatch"),
        ({"inputs": [[1, 0, 0, 0], [0, 1, 0]]}, "size_mismatch"),
        ({"inputs": [[1, 0, 0, "0"]]}, "invalid_data"),
        ({"instances": []}, "missing_field"),
        ({"instances": [{"x": ROWS[0]}, {"y": ROWS[1]}]}, "invalid_field"),
        ({"instances": [{"x": ROWS[0]}, ROWS[1]]}, "invalid_field"),
        ("text", "missing_field"),
        (5, "missing_field"),
    ],
)
def test_refuses_with_422_what_is_json_and_does_not_fit(client: httpx.Client, content: object, code: str) -> None:
    response = client.post("/predict", json=content)
    assert (response.status_code, response.json()["code"]) == (422, code), response.text


def test_tells_how_to_send_one_item(client: httpx.Client) -> None:
    assert "wrap one item" in client.post("/predict", json=[1, 0, 0, 0]).json()["error"]


def test_refuses_with_400_what_is_no_json(client: httpx.Client) -> None:
    response = client.post("/predict", content=b"x=1")
    assert (response.status_code, response.json()["code"]) == (400, "invalid_json")


def test_shows_a_page_that_finds_its_document_behind_the_prefix(client: httpx.Client) -> None:
    assert "'/openapi.json'" in client.get("/docs").text
    assert "'/models/linear/openapi.json'" in client.get("/models/linear/docs").text
    page = client.get("/models/linear", headers={"Accept": "text/html,*/*;q=0.8"})
    assert page.headers["location"] == "/models/linear/docs"
    assert client.get("/models/linear").json() == {"status": "alive"}
    assert client.get("/models/linear/openapi.json").json()["servers"] == [{"url": "/models/linear"}]


def test_brings_the_files_of_its_page_along(client: httpx.Client) -> None:
    page = client.get("/models/linear/docs").text
    linked = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(linked) == 3
    for path in linked:
        assert path.startswith("/models/linear/docs/"), "nothing comes from another host"
        response = client.get(path)
        assert response.status_code == 200
        assert response.content


@pytest.mark.feature("uploads")
def test_takes_and_gives_arrays(client: httpx.Client) -> None:
    file = io.BytesIO()
    np.save(file, np.array(ROWS, np.float64))
    headers = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}
    response = client.post("/predict", content=file.getvalue(), headers=headers)
    assert response.headers["content-type"] == "application/x-npy"
    assert np.load(io.BytesIO(response.content), allow_pickle=False).tolist() == ANSWER["outputs"]["scores"]
    headers = {"Content-Type": "application/octet-stream", "Accept": "application/octet-stream"}
    response = client.post("/predict", content=np.array(ROWS, np.float32).tobytes(), headers=headers)
    assert response.headers["x-tensor-shape"] == "2,3"
    assert np.frombuffer(response.content, np.float32).reshape(2, 3).tolist() == ANSWER["outputs"]["scores"]


@pytest.mark.feature("uploads")
def test_takes_forms_and_refuses_what_is_none(client: httpx.Client) -> None:
    response = client.post("/predict", files=[("x", (None, "[[1,0,0,0]]")), ("x", (None, "[[0,1,0,0]]"))])
    assert (response.status_code, response.json()) == (200, ANSWER)
    response = client.post("/predict", files={"x": ("cat.png", b"\x89PNG", "image/png")})
    assert (response.status_code, response.json()["code"]) == (422, "not_an_image_input")
    response = client.post("/predict", content=b"x", headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_multipart")


def test_answers_406_before_it_computes_what_nobody_can_read(client: httpx.Client) -> None:
    response = client.post("/predict", json=ROWS, headers={"Accept": "image/png"})
    assert (response.status_code, response.json()["code"]) == (406, "not_acceptable")


@pytest.mark.feature("v1-predict")
@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_answers_version_1(client: httpx.Client, mixed_client: httpx.Client, form: str) -> None:
    key = "predictions" if form == "instances" else "outputs"
    for path in ("/v1/models/linear:predict", "/v1/models/linear/versions/1:predict"):
        response = client.post(path, json={form: ROWS})
        assert (response.status_code, response.json()) == (200, {key: ANSWER["outputs"]["scores"]})
    content = MIXED if form == "inputs" else [{name: rows[0] for name, rows in MIXED.items()}]
    answer = mixed_client.post("/v1/models/mixed:predict", json={form: content}).json()[key]
    first = answer[0] if form == "instances" else {name: values[0] for name, values in answer.items()}
    assert first == {"sums": 9.0, "counts": 1, "inverse": [1.0, 0.5], "halves": [0.5, 1.0], "any": True}


def test_refuses_what_version_1_does_not_have(client: httpx.Client) -> None:
    for path, method, status, code in (
        ("/v1/models/other:predict", "POST", 404, "model_not_found"),
        ("/v1/models/linear/versions/2:predict", "POST", 404, "version_not_found"),
        ("/v1/models/linear:predict", "GET", 405, "method_not_allowed"),
        ("/v1/models/linear:explain", "POST", 501, "not_supported"),
        ("/v1/models/linear/versions/1:classify", "POST", 501, "not_supported"),
        ("/v1/models/linear", "POST", 405, "method_not_allowed"),
    ):
        response = client.request(method, path, json={"instances": ROWS})
        assert (response.status_code, response.json()["code"]) == (status, code), path


@pytest.mark.feature("openapi")
@pytest.mark.parametrize("fixture", ["client", "mixed_client"])
def test_documents_examples_that_the_model_answers(fixture: str, request: pytest.FixtureRequest) -> None:
    client: httpx.Client = request.getfixturevalue(fixture)
    document: dict[str, Any] = client.get("/openapi.json").json()
    posted = set()
    for path, operations in document["paths"].items():
        if "get" in operations:
            assert client.get(path).status_code == 200, path
            continue
        for kind, content in operations["post"].get("requestBody", {"content": {}})["content"].items():
            if "example" not in content:
                continue
            example = content["example"]
            body = {"files": {k: (None, v) for k, v in example.items()}} if "multipart" in kind else {"json": example}
            response = client.post(path, **body)
            assert response.status_code == 200, response.text
            posted.add((path.rpartition("/")[2].rpartition(":")[2], kind))
        if "requestBody" not in operations["post"]:
            assert client.post(path).status_code == 200, path
    assert posted == {
        ("infer", "application/json"),
        ("predict", "application/json"),
        ("predict", "multipart/form-data"),
    }
