"""`/predict` and its page: nested lists by name."""

from __future__ import annotations

from typing import Any

import httpx
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
    assert client.get("/models/linear").headers["location"] == "/models/linear/docs"
    assert client.get("/models/linear/openapi.json").json()["servers"] == [{"url": "/models/linear"}]


@pytest.mark.feature("openapi")
@pytest.mark.parametrize("fixture", ["client", "mixed_client"])
def test_documents_examples_that_the_model_answers(fixture: str, request: pytest.FixtureRequest) -> None:
    client: httpx.Client = request.getfixturevalue(fixture)
    document: dict[str, Any] = client.get("/openapi.json").json()
    posted = 0
    for path, operations in document["paths"].items():
        if "post" not in operations:
            assert client.get(path).status_code == 200
            continue
        example = operations["post"]["requestBody"]["content"]["application/json"]["example"]
        assert client.post(path, json=example).status_code == 200, path
        posted += 1
    assert posted == 2
