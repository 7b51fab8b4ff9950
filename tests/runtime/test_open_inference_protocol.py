"""The Open Inference Protocol over REST, asked by a plain HTTP client."""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx
import pytest

from tests.runtime.linear import INFER, SCORES, X, check_error, request_with
from tests.runtime.server import RuntimeServer

pytestmark = [pytest.mark.runtime, pytest.mark.timeout(300)]


def test_answers_with_values_of_the_model(client: httpx.Client) -> None:
    response = client.post(INFER, json={"inputs": [X], "id": "abc"})
    assert response.status_code == 200
    assert response.json() == {
        "model_name": "linear",
        "model_version": "1",
        "id": "abc",
        "outputs": [{"name": "scores", "datatype": "FP32", "shape": [2, 3], "data": SCORES}],
    }


def test_invents_no_id_when_none_was_given(client: httpx.Client) -> None:
    assert "id" not in client.post(INFER, json={"inputs": [X]}).json()


def test_takes_nested_data(client: httpx.Client) -> None:
    nested = request_with(data=[[1, 0, 0, 0], [0, 1, 0, 0]])
    assert client.post(INFER, json=nested).json()["outputs"][0]["data"] == SCORES


def test_takes_an_empty_batch(client: httpx.Client) -> None:
    answer = client.post(INFER, json=request_with(shape=[0, 4], data=[])).json()
    assert answer["outputs"][0] == {"name": "scores", "datatype": "FP32", "shape": [0, 3], "data": []}


@pytest.mark.parametrize("path", ["/v2/models/linear", "/v2/models/linear/versions/1"])
def test_tells_the_models_signature(client: httpx.Client, path: str) -> None:
    metadata = client.get(path).json()
    assert metadata.pop("properties")["device"] == "cpu"
    assert metadata == {
        "name": "linear",
        "versions": ["1"],
        "platform": "pytorch_torchscript",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 3]}],
    }


def test_tells_health_and_server(client: httpx.Client) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models/linear/ready").json() == {"name": "linear", "ready": True}
    server = client.get("/v2").json()
    assert server["name"] == "slipway"
    assert set(server["extensions"]) == {
        "binary_tensor_data",
        "classification",
        "model_configuration",
        "model_repository",
        "parameters",
        "schedule_policy",
        "statistics",
    }
    assert client.get("/v2/models").json() == {"models": ["linear"]}


READABLE = [
    "/docs",
    "/openapi.json",
    "/v1/models",
    "/v1/models/linear",
    "/v1/models/linear/versions/1",
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models",
    "/v2/models/%6cinear",
    "/v2/models/linear/config",
    "/v2/models/linear/ready",
    "/v2/models/linear/stats",
    "/v2/models/linear/versions/1/stats",
    "/v2/models/stats",
]


@pytest.mark.parametrize("path", READABLE)
def test_answers_head_like_get(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 200
    response = client.head(path)
    assert (response.status_code, response.content) == (200, b"")
    assert int(response.headers["content-length"]) > 0


def test_takes_a_percent_encoded_name(client: httpx.Client) -> None:
    response = client.post("/v2/models/%6Cinea%72/infer", json={"inputs": [X]})
    assert response.json()["outputs"][0]["data"] == SCORES


def test_tells_how_the_model_is_served_in_tritons_words(client: httpx.Client) -> None:
    config = client.get("/v2/models/linear/config").json()
    assert config["max_batch_size"] >= 1
    assert config["input"][0]["name"] == "x"
    assert (config["input"][0]["data_type"], config["input"][0]["dims"]) == ("TYPE_FP32", [4])
    assert (config["output"][0]["data_type"], config["output"][0]["dims"]) == ("TYPE_FP32", [3])


def test_lists_its_one_model_and_neither_loads_nor_unloads(client: httpx.Client) -> None:
    for body in (b"", b"{}", b'{"ready": true}', b'{"ready": false}'):
        index = client.post("/v2/repository/index", content=body)
        assert index.json() == [{"name": "linear", "version": "1", "state": "READY", "reason": ""}]
    check_error(client.post("/v2/repository/index", json={"ready": 1}), 400, "invalid_field")
    check_error(client.post("/v2/repository/index", content=b"ready"), 400, "invalid_json")
    for verb in ("load", "unload"):
        response = client.post(f"/v2/repository/models/linear/{verb}", json={})
        assert "the one model" in check_error(response, 501, "not_supported")["error"]
        check_error(client.post(f"/v2/repository/models/other/{verb}"), 404, "model_not_found")


@pytest.mark.parametrize("verb", ["generate", "generate_stream", "infer_stream"])
def test_streams_no_model_that_answers_at_once(client: httpx.Client, verb: str) -> None:
    check_error(client.post(f"/v2/models/linear/{verb}", json={}), 501, "not_streaming")
    check_error(client.post(f"/v2/models/linear/versions/1/{verb}", json={}), 501, "not_streaming")


def test_tells_the_models_state_over_v1(client: httpx.Client) -> None:
    status = client.get("/v1/models/linear").json()
    assert status["ready"] is True
    assert [(known["version"], known["state"]) for known in status["model_version_status"]] == [("1", "AVAILABLE")]
    check_error(client.get("/v1/models/other"), 404, "model_not_found")
    check_error(client.get("/v1/models/linear/versions/2"), 404, "version_not_found")


@pytest.mark.feature("precise-errors")
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": "y"}, "unknown_input"),
        ({"name": None}, "missing_field"),
        ({"name": 7}, "invalid_field"),
        ({"datatype": "FP64"}, "datatype_mismatch"),
        ({"datatype": "FLOAT"}, "unknown_datatype"),
        ({"datatype": None}, "missing_field"),
        ({"shape": [2, 5]}, "shape_mismatch"),
        ({"shape": [8]}, "shape_mismatch"),
        ({"shape": [2, -1]}, "invalid_field"),
        ({"shape": [2, 4.0]}, "invalid_field"),
        ({"shape": [2, True]}, "invalid_field"),
        ({"shape": [2, 2**70]}, "invalid_field"),
        ({"shape": [1] * 20}, "invalid_field"),
        ({"shape": "2x4"}, "invalid_field"),
        ({"shape": None}, "missing_field"),
        ({"shape": [3, 4]}, "size_mismatch"),
        ({"shape": [2**62, 4]}, "size_mismatch"),
        ({"data": [[1, 0, 0, 0], [0, 1, 0]]}, "size_mismatch"),
        ({"data": [[1, 0, 0, 0, 0, 1, 0, 0]]}, "size_mismatch"),
        ({"data": [1, 0, 0, 0, 0, 1, 0, [0]]}, "invalid_data"),
        ({"data": [1, 0, 0, 0, 0, 1, 0, "0"]}, "invalid_data"),
        ({"data": [1, 0, 0, 0, 0, 1, 0, None]}, "invalid_data"),
        ({"data": [1, 0, 0, 0, 0, 1, 0, True]}, "invalid_data"),
        ({"data": {"0": 1}}, "invalid_data"),
        ({"data": [1, 0, 0, 0, 0, 1, 0, 1e300]}, "out_of_range"),
        ({"data": [1, 0, 0, 0, 0, 1, 0, 10**400]}, "out_of_range"),
        ({"data": None}, "missing_field"),
        ({"data": None, "parameters": {"binary_data_size": 32}}, "size_mismatch"),
        ({"data": None, "parameters": {"binary_data_size": -1}}, "invalid_field"),
        ({"data": None, "parameters": {"binary_data_size": 1.5}}, "invalid_field"),
        ({"parameters": {"binary_data_size": 0}}, "invalid_field"),
        ({"data": None, "parameters": {"shared_memory_region": "r"}}, "not_supported"),
        ({"parameters": [1]}, "invalid_field"),
    ],
)
def test_refuses_an_input_that_does_not_fit(client: httpx.Client, changes: dict[str, Any], code: str) -> None:
    check_error(client.post(INFER, json=request_with(**changes)), 400, code)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({}, "missing_field"),
        ({"inputs": []}, "missing_field"),
        ({"inputs": {"x": [1]}}, "missing_field"),
        ({"inputs": ["x"]}, "invalid_field"),
        ({"inputs": [X, X]}, "duplicate_input"),
        ({"inputs": [X], "id": 7}, "invalid_field"),
        ({"inputs": [X], "outputs": [{"name": "logits"}]}, "unknown_output"),
        ({"inputs": [X], "outputs": [{"name": "scores"}, {"name": "scores"}]}, "duplicate_output"),
        ({"inputs": [X], "outputs": ["scores"]}, "invalid_field"),
        ({"inputs": [X], "outputs": {"name": "scores"}}, "invalid_field"),
        ({"inputs": [X], "outputs": [{"name": "scores", "parameters": {"classification": -2}}]}, "invalid_field"),
        ({"inputs": [X], "outputs": [{"name": "scores", "parameters": {"binary_data": 1}}]}, "invalid_field"),
        (
            {"inputs": [X], "outputs": [{"name": "scores", "parameters": {"shared_memory_region": "r"}}]},
            "not_supported",
        ),
        ({"inputs": [X], "parameters": {"binary_data_output": "yes"}}, "invalid_field"),
        ({"inputs": [X], "parameters": {"priority": -1}}, "invalid_field"),
        ({"inputs": [X], "parameters": {"timeout": "soon"}}, "invalid_field"),
        ([1, 2], "invalid_json"),
        (None, "invalid_json"),
    ],
)
def test_refuses_a_request_that_does_not_fit(client: httpx.Client, content: object, code: str) -> None:
    check_error(client.post(INFER, content=json.dumps(content)), 400, code)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"\xff\xfe{}", "invalid_json"),
        (b"[" * 50_000, "invalid_json"),
        (b'{"inputs":' * 6000, "invalid_json"),
        (b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[NaN,0,0,0]}]}', "non_finite_json"),
        (b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[-Infinity,0,0,0]}]}', "non_finite_json"),
        (b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1e999,0,0,0]}]}', "out_of_range"),
        (b'{"id":' + b"9" * 5000 + b"}", "invalid_json"),
        (b'{"inputs":[{"name":"\\ud800"}]}', "invalid_json"),
        (b'{"id":"\\uDFFF"}', "invalid_json"),
        (b'{"id":"a","id":"b"}', "invalid_json"),
        (b'{"parameters":{"a":1,"a":1}}', "invalid_json"),
        (b'{"parameters":' + b"[" * 64 + b"]" * 64 + b"}", "invalid_json"),
        (b"\xef\xbb\xbf{}", "invalid_json"),
    ],
)
def test_refuses_a_body_that_is_no_json(client: httpx.Client, body: bytes, code: str) -> None:
    check_error(client.post(INFER, content=body), 400, code)
    assert client.post(INFER, json={"inputs": [X]}).status_code == 200


@pytest.mark.parametrize(
    ("path", "content", "headers", "said"),
    [
        (INFER, {"inputs": [{}]}, {}, "inputs[0] has no 'name', expected a string."),
        (INFER, {"inputs": [{"name": "x"}]}, {}, "Input 'x' has no 'datatype', expected 'FP32'."),
        (INFER, {"inputs": {}}, {}, "'inputs' is an object, expected a list"),
        (INFER, {"inputs": [X]}, {"X-Priority": "-4"}, "X-Priority is '-4', expected a whole number"),
        (INFER, {"inputs": [X], "parameters": {"timeout": 2**63}}, {}, "with at most 15 digits"),
        ("/predict", {"inputs": [X]}, {}, "Send them to /v2/models/{model}/infer, or here:"),
        ("/v1/models/linear:predict", {"inputs": [X]}, {}, "Send them to /v2/models/{model}/infer, or here:"),
        ("/predict", {"instances": {}}, {}, "'instances' is an object, expected a list"),
    ],
)
def test_an_error_is_a_sentence_about_what_was_sent(
    client: httpx.Client, path: str, content: object, headers: dict[str, str], said: str
) -> None:
    assert said in client.post(path, json=content, headers=headers).json()["error"]


@pytest.mark.feature("precise-errors")
def test_says_what_was_expected_and_what_was_given(client: httpx.Client) -> None:
    body = check_error(client.post(INFER, json=request_with(shape=[2, 5])), 400, "shape_mismatch")
    assert body["details"] == [{"input": "x", "expected": "[-1, 4] FP32", "got": "[2, 5] FP32"}]
    assert body["retryable"] is False


@pytest.mark.parametrize("path", ["/v2/models/other/infer", "/v2/models/linear/versions/7/infer"])
def test_knows_no_other_model(client: httpx.Client, path: str) -> None:
    code = "version_not_found" if "versions" in path else "model_not_found"
    check_error(client.post(path, json={"inputs": [X]}), 404, code)


@pytest.mark.parametrize("path", ["/nope", "/v2/", "/v2/models/linear/infer/", "/v1", "/%2e%2e/etc/passwd"])
def test_knows_no_other_route(client: httpx.Client, path: str) -> None:
    check_error(client.get(path), 404, "route_not_found")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", INFER), ("DELETE", "/v2"), ("PUT", "/predict"), ("GET", "/slipway/verify")]
)
def test_names_the_methods_that_are_answered(client: httpx.Client, method: str, path: str) -> None:
    response = client.request(method, path)
    check_error(response, 405, "method_not_allowed")
    assert response.headers["allow"]


@pytest.mark.parametrize("content_type", ["text/csv", "image/png", "multipart/form-data; boundary=x"])
def test_refuses_another_media_type(client: httpx.Client, content_type: str) -> None:
    response = client.post(INFER, content=b"1,2", headers={"Content-Type": content_type})
    check_error(response, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "application/vnd.api+json", "application/octet-stream"]
)
def test_takes_json_under_the_names_that_clients_give_it(client: httpx.Client, content_type: str) -> None:
    body = json.dumps({"inputs": [X]})
    assert client.post(INFER, content=body, headers={"Content-Type": content_type}).status_code == 200


@pytest.mark.feature("body-limit")
def test_refuses_a_large_body_from_its_announced_length(linear: RuntimeServer) -> None:
    with socket.create_connection(("127.0.0.1", int(linear.address.rpartition(":")[2]))) as connection:
        connection.sendall(f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n".encode())
        connection.settimeout(10)
        assert connection.recv(64).startswith(b"HTTP/1.1 413 ")


def test_refuses_a_large_body_while_it_arrives(client: httpx.Client) -> None:
    chunks = (b" " * 16384 for _ in range(20))
    check_error(client.post(INFER, content=chunks), 413, "body_too_large")


def test_echoes_the_request_id(client: httpx.Client) -> None:
    assert client.get("/v2", headers={"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert client.get("/v2").headers["x-request-id"] != client.get("/v2").headers["x-request-id"]


def test_echoes_no_request_id_of_any_length(client: httpx.Client) -> None:
    assert len(client.get("/v2", headers={"X-Request-Id": "a" * 5000}).headers["x-request-id"]) == 32


def test_answers_with_and_without_the_ingress_prefix(client: httpx.Client) -> None:
    for prefix in ("", "/models/linear"):
        assert client.post(prefix + INFER, json={"inputs": [X]}).json()["outputs"][0]["data"] == SCORES
        assert client.get(f"{prefix}/v2/health/ready").status_code == 200
    check_error(client.get("/models/linear2/v2"), 404, "route_not_found")


def test_carries_every_datatype_in_and_out(mixed_client: httpx.Client) -> None:
    inputs = [
        {"name": "flags", "datatype": "BOOL", "shape": [2, 2], "data": [True, False, True, True]},
        {"name": "numbers", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 0, 4]},
        {"name": "indices", "datatype": "INT64", "shape": [2, 3], "data": [[1, 2, 3], [0, 0, 2**40]]},
    ]
    answer = mixed_client.post("/v2/models/mixed/infer", json={"inputs": inputs}).json()
    outputs = {tensor["name"]: tensor for tensor in answer["outputs"]}
    assert outputs["sums"]["data"] == [9, 1.0995116e12], "4 + 2**40 in the fewest digits that are the same FP32"
    assert outputs["counts"] == {"name": "counts", "datatype": "INT64", "shape": [2], "data": [1, 2]}
    assert outputs["halves"] == {"name": "halves", "datatype": "FP16", "shape": [2, 2], "data": [0.5, 1.0, 0.0, 2.0]}
    assert outputs["any"] == {"name": "any", "datatype": "BOOL", "shape": [2], "data": [True, True]}
    assert outputs["inverse"]["data"] == [1.0, 0.5, None, 0.25], "what is not finite has no place in JSON"
    assert outputs["inverse"]["parameters"] == {"non_finite": True}


def test_answers_with_the_outputs_asked_for_in_their_order(mixed_client: httpx.Client) -> None:
    inputs = [
        {"name": "numbers", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]},
        {"name": "indices", "datatype": "INT64", "shape": [1, 3], "data": [1, 2, 3]},
        {"name": "flags", "datatype": "BOOL", "shape": [1, 2], "data": [True, False]},
    ]
    outputs = [{"name": "sums"}, {"name": "any"}]
    answer = mixed_client.post("/v2/models/mixed/infer", json={"inputs": inputs, "outputs": outputs}).json()
    assert [tensor["name"] for tensor in answer["outputs"]] == ["sums", "any"]


def test_refuses_inputs_of_different_batch_sizes(mixed_client: httpx.Client) -> None:
    inputs = [
        {"name": "numbers", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]},
        {"name": "indices", "datatype": "INT64", "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]},
        {"name": "flags", "datatype": "BOOL", "shape": [1, 2], "data": [True, False]},
    ]
    response = mixed_client.post("/v2/models/mixed/infer", json={"inputs": inputs})
    assert (response.status_code, response.json()["code"]) == (400, "shape_mismatch")
    assert "indices: 2" in response.json()["error"]


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
def test_refuses_integers_out_of_range(mixed_client: httpx.Client, value: int) -> None:
    inputs = [{"name": "indices", "datatype": "INT64", "shape": [1, 3], "data": [value, 0, 0]}]
    response = mixed_client.post("/v2/models/mixed/infer", json={"inputs": inputs})
    assert (response.status_code, response.json()["code"]) == (400, "out_of_range")


@pytest.mark.feature("runtime-metrics")
def test_counts_requests_by_protocol_and_reason(linear: RuntimeServer, client: httpx.Client) -> None:
    client.post(INFER, json={"inputs": [X]})
    client.post(INFER, json=request_with(shape=[2, 5]))
    metrics = linear.metrics()
    assert 'slipway_runtime_requests_total{code="200",protocol="v2",reason="ok"}' in metrics
    assert 'slipway_runtime_requests_total{code="400",protocol="v2",reason="shape_mismatch"}' in metrics
    for stage in ("read", "decode", "queue", "compute", "encode"):
        assert f'slipway_runtime_request_stage_seconds_count{{stage="{stage}"}}' in metrics
    assert "slipway_runtime_requests_in_flight 0.0" in metrics
    assert "slipway_runtime_ready 1.0" in metrics
    assert "process_resident_memory_bytes" in metrics
