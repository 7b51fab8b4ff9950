"""tritonclient, a client of the protocol that we did not write, used as its documentation shows; errors included."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.runtime.server import RuntimeServer

pytestmark = [pytest.mark.runtime, pytest.mark.timeout(300)]


@pytest.fixture
def client(linear: RuntimeServer) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(linear.address) as client:
        yield client


@pytest.fixture
def prefixed_client(linear: RuntimeServer) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"{linear.address}/models/linear") as client:
        yield client


def tensor(array: np.ndarray, name: str = "x", *, binary: bool = False) -> triton.InferInput:
    given = triton.InferInput(name, list(array.shape), "FP32")
    given.set_data_from_numpy(array, binary_data=binary)
    return given


ONES = np.ones((2, 4), np.float32)
SCORES = np.array([[6.5, 21.5, 38.0]] * 2, np.float32)


def test_asks_for_health_and_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("linear")
    assert client.is_model_ready("linear", "1")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata()["name"] == "slipway"
    assert client.get_model_metadata("linear")["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]


@pytest.mark.parametrize("version", ["", "1"])
def test_predicts(client: triton.InferenceServerClient, version: str) -> None:
    outputs = [triton.InferRequestedOutput("scores", binary_data=False)]
    result = client.infer("linear", [tensor(ONES)], model_version=version, outputs=outputs, request_id="r1")
    np.testing.assert_array_equal(result.as_numpy("scores"), SCORES)
    assert result.get_response()["id"] == "r1"


def test_predicts_when_binary_outputs_are_only_preferred(client: triton.InferenceServerClient) -> None:
    result = client.infer("linear", [tensor(ONES)])
    np.testing.assert_array_equal(result.as_numpy("scores"), SCORES)


def test_predicts_behind_the_ingress_prefix(prefixed_client: triton.InferenceServerClient) -> None:
    np.testing.assert_array_equal(prefixed_client.infer("linear", [tensor(ONES)]).as_numpy("scores"), SCORES)


def test_predicts_asynchronously(client: triton.InferenceServerClient) -> None:
    waiting = [client.async_infer("linear", [tensor(ONES * factor)]) for factor in range(4)]
    for factor, request in enumerate(waiting):
        expected = (SCORES - np.array([0.5, -0.5, 0], np.float32)) * factor + np.array([0.5, -0.5, 0], np.float32)
        np.testing.assert_array_equal(request.get_result().as_numpy("scores"), expected)


def test_raises_the_runtimes_words_when_a_request_does_not_fit(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match=r"Input 'x' has the shape \[2, 5\], expected \[-1, 4\]"):
        client.infer("linear", [tensor(np.ones((2, 5), np.float32))])
    with pytest.raises(InferenceServerException, match="There is no input 'y'"):
        client.infer("linear", [tensor(ONES, "y")])
    with pytest.raises(InferenceServerException, match="There is no model 'other'"):
        client.infer("other", [tensor(ONES)])
    with pytest.raises(InferenceServerException, match="There is no output 'logits'"):
        client.infer("linear", [tensor(ONES)], outputs=[triton.InferRequestedOutput("logits", binary_data=False)])


def test_sends_and_receives_binary_tensors(client: triton.InferenceServerClient) -> None:
    for binary_in in (True, False):
        for outputs in (None, [triton.InferRequestedOutput("scores")]):
            result = client.infer("linear", [tensor(ONES, binary=binary_in)], outputs=outputs)
            np.testing.assert_array_equal(result.as_numpy("scores"), SCORES)


def test_carries_every_type_of_the_model(mixed: RuntimeServer) -> None:
    numbers = triton.InferInput("numbers", [1, 2], "FP32")
    numbers.set_data_from_numpy(np.array([[4, 0]], np.float32), binary_data=False)
    indices = triton.InferInput("indices", [1, 3], "INT64")
    indices.set_data_from_numpy(np.array([[1, 2, 3]], np.int64), binary_data=False)
    flags = triton.InferInput("flags", [1, 2], "BOOL")
    flags.set_data_from_numpy(np.array([[True, False]]), binary_data=False)
    with triton.InferenceServerClient(mixed.address) as client:
        result = client.infer("mixed", [numbers, indices, flags])
    assert result.as_numpy("counts").tolist() == [1]
    assert result.as_numpy("any").tolist() == [True]
    assert result.as_numpy("halves").tolist() == [[2.0, 0.0]]
    assert result.as_numpy("inverse").tolist() == [[0.25, np.inf]], "binary is exact"
    outputs = [triton.InferRequestedOutput("inverse", binary_data=False)]
    with triton.InferenceServerClient(mixed.address) as client:
        inverse = client.infer("mixed", [numbers, indices, flags], outputs=outputs).as_numpy("inverse")
    assert inverse[0, 0] == 0.25
    assert np.isnan(inverse[0, 1]), "null reads as NaN"
