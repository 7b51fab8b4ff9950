"""tritonclient, a client of the protocol that we did not write, used as its documentation shows; errors included."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
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
    with pytest.raises(InferenceServerException, match="Request for unknown model: there is no model 'other'"):
        client.infer("other", [tensor(ONES)])
    with pytest.raises(InferenceServerException, match="There is no output 'logits'"):
        client.infer("linear", [tensor(ONES)], outputs=[triton.InferRequestedOutput("logits", binary_data=False)])


def test_what_is_not_here_is_refused_with_its_reason(client: triton.InferenceServerClient) -> None:
    for ask in (client.get_trace_settings, client.get_log_settings, lambda: client.get_trace_settings("linear")):
        with pytest.raises(InferenceServerException, match="belong to the configuration") as refused:
            ask()
        assert refused.value.status() == "501"
    with pytest.raises(InferenceServerException, match="send tensors in the request"):
        client.register_system_shared_memory("region", "/key", 8)
    with pytest.raises(InferenceServerException, match="send tensors in the request"):
        client.register_cuda_shared_memory("region", b"handle", 0, 8)
    with pytest.raises(InferenceServerException, match="Request for unknown model: there is no model 'other'"):
        client.get_trace_settings("other")
    assert client.get_system_shared_memory_status() == client.get_cuda_shared_memory_status("region") == []
    client.unregister_system_shared_memory()
    client.unregister_cuda_shared_memory("region")


@pytest.mark.feature("binary-tensors")
def test_sends_and_receives_binary_tensors(client: triton.InferenceServerClient) -> None:
    for binary_in in (True, False):
        for outputs in (None, [triton.InferRequestedOutput("scores")]):
            result = client.infer("linear", [tensor(ONES, binary=binary_in)], outputs=outputs)
            np.testing.assert_array_equal(result.as_numpy("scores"), SCORES)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compresses_both_ways(client: triton.InferenceServerClient, algorithm: str, binary: bool) -> None:
    rows = np.tile(ONES, (200, 1))
    result = client.infer(
        "linear",
        [tensor(rows, binary=binary)],
        outputs=[triton.InferRequestedOutput("scores", binary_data=binary)],
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    np.testing.assert_array_equal(result.as_numpy("scores"), np.tile(SCORES, (200, 1)))


ECHO: dict[str, np.ndarray[Any, Any]] = {
    "halves": np.array([[0.5, np.inf], [-0.0, 65504]], np.float16),
    "brains": np.array([[1.5, np.nan], [-0.0, 3e38]], ml_dtypes.bfloat16),
    "words": np.array([b"\x00\xff", "grüße".encode()], np.object_),
    "flags": np.array([[True, False], [False, True]]),
}
TYPES = {"halves": "FP16", "brains": "BF16", "words": "BYTES", "flags": "BOOL"}


def echo_inputs(binary: dict[str, bool], arrays: dict[str, np.ndarray[Any, Any]]) -> list[triton.InferInput]:
    inputs = []
    for name, array in arrays.items():
        given = triton.InferInput(name, list(array.shape), TYPES[name])
        inputs.append(given.set_data_from_numpy(array, binary_data=binary[name]))
    return inputs


@pytest.mark.feature("binary-tensors")
def test_carries_half_precision_text_and_bools_bit_by_bit(echo: RuntimeServer) -> None:
    with triton.InferenceServerClient(echo.address) as client:
        result = client.infer("echo", echo_inputs(dict.fromkeys(ECHO, True), ECHO))
    for name, array in ECHO.items():
        got = result.as_numpy(f"{name}_out")
        if name == "words":
            assert got.tolist() == array.tolist()
        else:
            assert (got.dtype, got.tobytes()) == (array.dtype, array.tobytes())


@pytest.mark.feature("binary-tensors")
def test_mixes_binary_and_json_in_one_request_and_answer(echo: RuntimeServer) -> None:
    plain = {**ECHO, "halves": np.array([[0.1, 2]], np.float16), "words": np.array([b"a"], np.object_)}
    arrays = {name: array[:1] for name, array in plain.items()}
    binary = {"halves": False, "brains": True, "words": False, "flags": True}
    outputs = [triton.InferRequestedOutput(f"{name}_out", binary_data=not way) for name, way in binary.items()]
    with triton.InferenceServerClient(echo.address) as client:
        result = client.infer("echo", echo_inputs(binary, arrays), outputs=outputs[::-1])
    assert [output["name"] for output in result.get_response()["outputs"]] == [o.name() for o in outputs[::-1]]
    assert result.as_numpy("halves_out").tobytes() == arrays["halves"].tobytes()
    assert result.as_numpy("flags_out").tolist() == [[True, False]]
    assert result.as_numpy("words_out").tolist() == [b"a"]
    assert result.get_output("brains_out")["parameters"] == {"non_finite": True}
    assert result.get_output("brains_out")["data"] == [1.5, None]


def test_classifies(client: triton.InferenceServerClient) -> None:
    for binary in (True, False):
        outputs = [triton.InferRequestedOutput("scores", binary_data=binary, class_count=2)]
        classes = client.infer("linear", [tensor(ONES)], outputs=outputs).as_numpy("scores")
        assert [[str(c, "utf-8") if binary else c for c in row] for row in classes] == [["38.0:2", "21.5:1"]] * 2


@pytest.mark.feature("oip-rest")
def test_tells_configuration_statistics_and_repository(client: triton.InferenceServerClient) -> None:
    assert client.get_model_config("linear")["input"][0]["dims"] == [4]
    for statistics in (client.get_inference_statistics(), client.get_inference_statistics("linear", "1")):
        (known,) = statistics["model_stats"]
        assert (known["name"], known["version"]) == ("linear", "1")
    before = known
    client.infer("linear", [tensor(ONES)])
    (after,) = client.get_inference_statistics("linear")["model_stats"]
    assert after["inference_count"] - before["inference_count"] == 2
    assert after["execution_count"] - before["execution_count"] == 1
    success, previous = (known["inference_stats"]["success"] for known in (after, before))
    assert success["count"] - previous["count"] == 1
    assert success["ns"] > previous["ns"]
    assert client.get_model_repository_index() == [{"name": "linear", "version": "1", "state": "READY", "reason": ""}]


def test_is_told_why_nothing_is_loaded(client: triton.InferenceServerClient) -> None:
    for change in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="serves the one model") as raised:
            change("linear")
        assert raised.value.status() == "501"


def test_passes_priority_and_timeout(client: triton.InferenceServerClient) -> None:
    result = client.infer("linear", [tensor(ONES)], priority=1, timeout=5_000_000, parameters={"mine": "kept apart"})
    np.testing.assert_array_equal(result.as_numpy("scores"), SCORES)


def test_predicts_with_asyncio(linear: RuntimeServer) -> None:
    async def ask() -> None:
        async with triton_aio.InferenceServerClient(linear.address) as client:
            assert await client.is_server_ready()
            assert (await client.get_model_metadata("linear"))["name"] == "linear"
            for binary in (True, False):
                for algorithm in (None, "gzip", "deflate"):
                    result = await client.infer(
                        "linear",
                        [tensor(np.tile(ONES, (100, 1)), binary=binary)],
                        outputs=[triton_aio.InferRequestedOutput("scores", binary_data=binary)],
                        request_compression_algorithm=algorithm,
                        response_compression_algorithm=algorithm,
                    )
                    np.testing.assert_array_equal(result.as_numpy("scores"), np.tile(SCORES, (100, 1)))
            results = await asyncio.gather(*(client.infer("linear", [tensor(ONES)]) for _ in range(8)))
            assert all((result.as_numpy("scores") == SCORES).all() for result in results)
            with pytest.raises(InferenceServerException, match="There is no input 'y'"):
                await client.infer("linear", [tensor(ONES, "y")])
            with pytest.raises(InferenceServerException, match=r"^\[404\] Request for unknown model"):
                await client.infer("other", [tensor(ONES)])

    asyncio.run(ask())


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
