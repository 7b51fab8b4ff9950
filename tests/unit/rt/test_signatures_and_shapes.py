"""Models of every kind of signature, asked with every kind of shape: decoded or refused in words, whatever the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.predict import PredictCodec
from slipway_runtime.protocol.tensors import MOST_OF_EMPTY, MOST_STRINGS
from slipway_runtime.protocol.v1 import V1Codec
from slipway_runtime.protocol.v2 import V2Codec
from slipway_runtime.protocol.v2.answer import classify
from tests.unit.rt.bodies import refused
from tests.unit.rt.protocols import outcome, signature

pytestmark = pytest.mark.unit

SOME = settings(max_examples=200, deadline=None)
OPEN: Final = signature({"x": ("FP32", [-1, -1, -1])}, {"y": ("FP32", [-1, -1])})
SCALAR: Final = signature({"x": ("INT32", [])}, {"y": ("INT32", [])})
MODELS: Final = {
    "open": OPEN,
    "scalar": SCALAR,
    "words": signature({"x": ("BYTES", [-1, -1])}, {"y": ("BYTES", [-1, 2])}),
    "image": signature({"x": ("UINT8", [-1, 3, -1, -1])}, {"y": ("FP64", [-1, 2])}),
    "fixed": signature({"x": ("INT8", [3])}, {"y": ("FP16", [3])}),
    "nothing": signature({"x": ("BOOL", [-1, 0])}, {"y": ("FP32", [-1, 2])}),
}
SIZES: Final = st.sampled_from([0, 0, 1, 2, 3, 2**20, 2**31, 2**32, 2**61, 2**62, 2**63 - 1, 2**63, 2**64])
ODD: Final = st.sampled_from([-1, 1.0, True, None, "2", [2], {}])
WORDS: Final = st.sampled_from([[], [0], [0, 0, 0], [[]], [[], []], 0, None, "a", ["a"], {}])


def tensor(shape: Any, datatype: str = "FP32", **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "datatype": datatype, "shape": shape, **more}]}


def v2(model: Signature, content: Any, raw: bytes | None = None) -> Any:
    text = json.dumps(content).encode()
    headers = {} if raw is None else {b"inference-header-content-length": str(len(text)).encode()}
    return V2Codec("m", model).decode(headers, text + (raw or b""))


def npy(shape: str, descr: str = "<f4") -> bytes:
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head


@SOME
@given(st.sampled_from(sorted(MODELS)), st.lists(SIZES | SIZES | ODD, max_size=4), WORDS, st.booleans())
@example("open", [0, 4, 2**62], [], True)
@example("open", [4, 2**63 - 1, 0], [], False)
@example("words", [0, 2**63 - 1], [], True)
def test_any_shape_is_decoded_or_refused(name: str, shape: list[Any], data: Any, binary: bool) -> None:
    model = MODELS[name]
    datatype = str(model.inputs[0].datatype)
    more = {"parameters": {"binary_data_size": 0}} if binary else {"data": data}
    decoded = outcome(lambda: v2(model, tensor(shape, datatype, **more), b"" if binary else None))
    if not isinstance(decoded, Exception):
        assert list(decoded.inputs["x"].shape) == shape


@SOME
@given(st.sampled_from(sorted(MODELS)), st.recursive(WORDS, lambda inner: st.lists(inner, max_size=3), max_leaves=4))
@example("scalar", 7)
@example("scalar", 2.5)
def test_any_lists_are_decoded_or_refused(name: str, value: Any) -> None:
    model = MODELS[name]
    for content in ({"inputs": {"x": value}}, {"inputs": value}, {"instances": [{"x": value}]}, {"instances": value}):
        body = json.dumps(content).encode()
        outcome(lambda body=body: PredictCodec("m", model).decode({}, body))  # type: ignore[misc]
        outcome(lambda body=body: V1Codec(model).decode({}, body))  # type: ignore[misc]


@pytest.mark.parametrize("shape", ["(0, 2, 4611686018427387904)", "(0, 9223372036854775808, 2)", "(1, 0, 2097152)"])
def test_an_npy_header_promises_no_more_than_can_be(shape: str) -> None:
    headers = {b"content-type": b"application/x-npy"}
    refused(lambda: PredictCodec("m", OPEN).decode(headers, npy(shape)), 422, "shape_mismatch")


def test_a_single_number_is_asked_for_on_every_route() -> None:
    ask: dict[str, Callable[[], Any]] = {
        "v1": lambda: V1Codec(SCALAR).decode({}, b'{"inputs": {"x": 7}}'),
        "predict": lambda: PredictCodec("m", SCALAR).decode({}, b'{"inputs": {"x": 7}}'),
        "v2": lambda: v2(SCALAR, tensor([], "INT32", data=[7])),
    }
    for name, decode in ask.items():
        assert (decode().inputs["x"].tolist(), decode().inputs["x"].shape) == (7, ()), name
    refused(lambda: PredictCodec("m", SCALAR).decode({}, b'{"inputs": {"x": 7.5}}'), 422, "invalid_data")


def test_a_tensor_without_values_has_sizes_that_can_be_computed() -> None:
    """Each of its rows is computed and answered, and a request of a hundred bytes must not cost gigabytes."""
    for shape in ([0, 5, 7], [4, 0, 6], [0, 0, 0], [MOST_OF_EMPTY, 0, 1], [0, 1024, 1024]):
        assert v2(OPEN, tensor(shape, data=[])).inputs["x"].shape == tuple(shape)
    for shape in ([MOST_OF_EMPTY + 1, 0, 1], [0, 1024, 1025], [1, 2**21, 0]):
        error = refused(lambda shape=shape: v2(OPEN, tensor(shape, data=[])), 400, "shape_mismatch")  # type: ignore[misc]
        assert "multiply to at most 1048576" in error.message
    large = signature({"x": ("FP32", [-1, 3, 1024, 1024])}, {"y": ("FP32", [-1])})
    assert v2(large, tensor([0, 3, 1024, 1024], data=[])).inputs["x"].shape == (0, 3, 1024, 1024)


def test_strings_are_as_many_as_can_be_read_without_keeping_others_waiting() -> None:
    """Two bytes in a body are sixty in memory; four of nothing are an element too."""
    words, most = MODELS["words"], MOST_STRINGS
    for shape in ([most + 1, 1], [1, most + 1], [2**62, 2**62]):
        for raw in (None, b""):
            more = {"data": ["a"]} if raw is None else {"parameters": {"binary_data_size": 0}}
            error = refused(
                lambda s=shape, m=more, r=raw: v2(words, tensor(s, "BYTES", **m), r), 400, "too_many_strings"
            )  # type: ignore[misc]
            assert "expected at most 1048576 in one request" in error.message
    raw = b"\0" * (4 * most)
    content = tensor([1, most], "BYTES", parameters={"binary_data_size": len(raw)})
    assert v2(words, content, raw).inputs["x"].shape == (1, most)


@pytest.mark.parametrize("shape", [(0, 5), (2, 0), (0, 0), (0,)])
def test_classes_of_an_output_without_values_are_none(shape: tuple[int, ...]) -> None:
    spec = signature({"x": ("FP32", [-1])}, {"y": ("FP32", [-1] * len(shape))}).outputs[0]
    classes = classify(spec, np.zeros(shape, np.float32), 3)
    assert classes.size == 0
    assert classes.shape[:1] == shape[:1]


def test_what_is_not_as_it_should_be_is_shown_as_it_was_sent() -> None:
    """And not in Python's words for it."""
    for wrong, words in (
        (tensor([None, 1, 1], data=[]), "shape holds 'null'"),
        (tensor([True, 1, 1], data=[1]), "shape holds 'true'"),
        (tensor([1, 1, 1], None, data=[1]), "got datatype 'null'"),  # type: ignore[arg-type]
        (tensor([1, 1, 1], parameters={"binary_data_size": None}), "binary_data_size is 'null'"),
        ({**tensor([1, 1, 1], data=[1]), "parameters": {"timeout": True}}, "timeout is 'true'"),
        (
            {**tensor([1, 1, 1], data=[1]), "outputs": [{"name": "y", "parameters": {"classification": None}}]},
            "classification is 'null'",
        ),
    ):
        error = outcome(lambda wrong=wrong: v2(OPEN, wrong))  # type: ignore[misc]
        assert words in str(error)
