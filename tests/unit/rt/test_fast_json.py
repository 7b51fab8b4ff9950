"""The quick reading of JSON and the careful one agree on every body: same verdict, same values."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.codec import Buffer, Decoded
from slipway_runtime.protocol.errors import ApiError
from slipway_runtime.protocol.fastjson import DoubtError, read_document
from slipway_runtime.protocol.jsontext import parse, parse_object
from slipway_runtime.protocol.predict.fast import FastNested
from slipway_runtime.protocol.predict.nested import decode_inputs
from slipway_runtime.protocol.v2.fast import FastReader
from slipway_runtime.protocol.v2.request import decode_content
from tests.unit.rt.protocols import ONE, TWO, outcome, signature

pytestmark = pytest.mark.unit

SOME = settings(max_examples=300, deadline=None)
NUMBERS = (
    st.integers(-200, 200)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([2**31, 2**63, 2**64, -(2**63) - 1, 3.4028235e38, 3.4028236e38, 65504, 65520, -0.0, 1e-320])
)
ODD = st.none() | st.booleans() | st.text(max_size=3) | st.just([]) | st.just({}) | st.just([1]) | st.just({"a": 1})
VALUES = NUMBERS | NUMBERS | NUMBERS | ODD


def tensors(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Right, flat or nested, and nearly right."""
    return st.one_of(
        st.lists(values, min_size=2, max_size=4),
        st.lists(st.lists(values, min_size=2, max_size=2), min_size=1, max_size=2),
        st.lists(values | st.lists(values, max_size=2), max_size=4),
        st.lists(st.lists(st.lists(values, max_size=2), max_size=2), max_size=2),
    )


def members(name: str, datatype: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "name": st.sampled_from([name, name, name, "q"]),
            "datatype": st.sampled_from([datatype, datatype, "FP64"]),
            "shape": st.sampled_from(
                [[1, 2], [2, 2], [2], [4], [1], [2, 1], [2.0, 2], [True, 2], "22", [0, 2], [-1, 2]]
            ),
            "data": tensors(VALUES),
        },
        optional={"parameters": st.sampled_from([None, {}, {"a": 1}, {"binary_data_size": 8}])},
    )


def v2_bodies(inputs: dict[str, str]) -> st.SearchStrategy[bytes]:
    parameters = st.none() | st.dictionaries(
        st.sampled_from(["priority", "timeout", "binary_data_output", "k"]), ODD | st.integers(-1, 5), max_size=2
    )
    outputs = st.none() | st.lists(
        st.fixed_dictionaries({"name": st.sampled_from(["y", "z", "q"])}, optional={"parameters": parameters}) | ODD,
        max_size=2,
    )
    content = st.fixed_dictionaries(
        {"inputs": st.tuples(*(members(name, datatype) for name, datatype in inputs.items())).map(list)},
        optional={"id": st.none() | st.text(max_size=4) | st.just(3), "outputs": outputs, "parameters": parameters},
    )
    return content.map(lambda value: json.dumps(value).encode())


@st.composite
def damaged(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> bytes:
    """Some bytes taken, added, doubled or changed."""
    body = bytearray(draw(bodies))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, max(0, len(body) - 1)))
        end = at + draw(st.integers(0, 6))
        inserted = draw(
            st.sampled_from([b"", b"[", b"]", b"0", b"-", b"e9", b'"', b",", b"\xff", b"\x00", b"1,", b"{"])
        )
        body[at:end] = inserted
    return bytes(body)


def agree(quick: Any, careful: Any) -> None:
    """`quick` may leave a body to the careful reading, never judge it otherwise."""
    if quick is None:
        return
    assert not isinstance(careful, ApiError), careful.message
    assert list(quick) == list(careful)
    for name, array in quick.items():
        assert array.dtype == careful[name].dtype
        assert array.shape == careful[name].shape
        assert array.tobytes() == careful[name].tobytes()


def check_v2(model: Signature, body: bytes) -> None:
    quick = FastReader(model).decode(body)
    careful = outcome(lambda: decode_content(parse_object(body), memoryview(b""), model))
    if quick is None:
        return
    assert isinstance(careful, Decoded), careful
    agree(quick.inputs, careful.inputs)
    for part in ("outputs", "id", "priority", "timeout_seconds", "form"):
        assert getattr(quick, part) == getattr(careful, part)


def tensor(shape: str, data: str) -> bytes:
    return b'{"inputs":[{"name":"x","datatype":"FP32","shape":%s,"data":%s}]}' % (shape.encode(), data.encode())


@SOME
@given(damaged(v2_bodies({"x": "FP32"})))
@example(tensor("[1,2]", "[1,[2]]"))
@example(tensor("[1,2]", "[[1,[2]]]"))
@example(tensor("[2,2]", "[[1,2,3],[4]]"))
@example(tensor("[[1],2]", "[1,2]"))
@example(tensor("[1,2]", "[1,2,]"))
@example(tensor("[1,2]", "[01,2]"))
@example(tensor("[1,2]", "[1,NaN]"))
@example(tensor("[1,2]", "[1e39,2]"))
@example(tensor("[1,2]", "[3.40282357e38,2]"))
@example(tensor("[1,2]", "[0,1.3e154]"))
@example(tensor("[1,2]", "[0,1e300]"))
@example(tensor("[1,2]", "[1,2]") + b" ")
@example(b"\xef\xbb\xbf" + tensor("[1,2]", "[1,2]"))
@example(tensor("[1,2]", "[1,2]")[:-1] + b',"id":"a","id":"b"}')
def test_v2_is_read_the_same_quickly_and_carefully(body: bytes) -> None:
    check_v2(ONE, body)


@SOME
@given(damaged(v2_bodies({"x": "FP32", "n": "INT8"})))
def test_v2_with_two_inputs_is_read_the_same(body: bytes) -> None:
    check_v2(TWO, body)


@SOME
@given(
    st.sampled_from(["FP16", "BF16", "FP64", "INT8", "INT32", "INT64", "UINT8", "UINT16", "UINT64", "BOOL", "BYTES"]),
    st.lists(VALUES, min_size=2, max_size=2),
)
def test_every_datatype_is_read_the_same(datatype: str, values: list[Any]) -> None:
    model = signature({"x": (datatype, [2])}, {"y": ("FP32", [-1])})
    body = json.dumps({"inputs": [{"name": "x", "datatype": datatype, "shape": [2], "data": values}]}).encode()
    check_v2(model, body)


@SOME
@given(
    damaged(
        st.one_of(
            tensors(VALUES),
            st.fixed_dictionaries(
                {},
                optional={
                    "inputs": tensors(VALUES)
                    | st.fixed_dictionaries({"x": tensors(VALUES)}, optional={"n": tensors(VALUES)}),
                    "instances": tensors(VALUES),
                },
            ),
        ).map(lambda value: json.dumps(value).encode())
    ),
    st.sampled_from([ONE, TWO]),
)
@example(b'{"inputs":{"x":[[1,2]],"x":[[1,2]]}}', ONE)
@example(b"[[1,[2]]]", ONE)
@example(b"[[]]", ONE)
def test_nested_lists_are_read_the_same_quickly_and_carefully(body: bytes, model: Signature) -> None:
    quick = FastNested(model).decode(body)
    careful = outcome(lambda: decode_inputs(parse(body), model))
    agree(None if quick is None else quick[1], careful)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("datatype", ["FP32", "FP16", "BF16", "FP64", "INT64", "UINT8"])
def test_plain_requests_are_read_quickly(datatype: str, nested: bool) -> None:
    model = signature({"x": (datatype, [-1, 3, 2])}, {"y": ("FP32", [-1])})
    data = np.arange(12).reshape(2, 3, 2)
    content = {"inputs": [{"name": "x", "datatype": datatype, "shape": [2, 3, 2], "data": data.tolist()}]}
    if not nested:
        content["inputs"][0]["data"] = data.reshape(-1).tolist()
    for extra in ({}, {"id": "7"}, {"parameters": {"binary_data_output": True}}, {"outputs": [{"name": "y"}]}):
        decoded = FastReader(model).decode(json.dumps({**content, **extra}).encode())
        assert decoded is not None
        assert decoded.inputs["x"].shape == (2, 3, 2)
    assert FastNested(model).decode(json.dumps(data.tolist()).encode()) is not None
    assert FastNested(model).decode(json.dumps({"inputs": {"x": data.tolist()}}).encode()) is not None


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda body: memoryview(bytearray(body))])
@pytest.mark.parametrize("count", [2, 20_000])
def test_every_kind_of_buffer_is_read_quickly(kind: Callable[[bytes], Buffer], count: int) -> None:
    model = signature({"x": ("INT32", [-1])}, {"y": ("FP32", [-1])})
    found = FastNested(model).decode(kind(json.dumps(list(range(count))).encode()))
    assert found is not None
    assert found[1]["x"].tolist() == list(range(count))


@SOME
@given(st.lists(v2_bodies({"x": "FP32"}), min_size=2, max_size=8))
def test_what_is_remembered_of_one_request_changes_no_other(bodies: list[bytes]) -> None:
    remembering = FastReader(ONE)
    for body in bodies:
        again, fresh = remembering.decode(body), FastReader(ONE).decode(body)
        assert (again is None) == (fresh is None)
        if again is not None and fresh is not None:
            agree(again.inputs, fresh.inputs)
            assert (again.outputs, again.form, again.id) == (fresh.outputs, fresh.form, fresh.id)
            assert (again.priority, again.timeout_seconds) == (fresh.priority, fresh.timeout_seconds)


def test_a_number_is_no_other_number_for_being_equal() -> None:
    reader = FastReader(ONE)
    for priority, known in (("1", True), ("1.0", False), ("1", True), ("true", False), ("1e0", False)):
        body = tensor("[1,2]", "[1,2]")[:-1] + b',"parameters":{"priority":%s}}' % priority.encode()
        assert (reader.decode(body) is not None) == known
        check_v2(ONE, body)


def test_what_is_held_of_a_refused_body_makes_no_other_slow() -> None:
    held = []

    def refuse(document: Any, brackets: int) -> None:
        held.append(document)  # as the frames of an exception do
        raise DoubtError

    for _ in range(3):
        assert read_document(b'{"a": [1]}', refuse) is None
    for _ in range(4):
        assert read_document(b'{"a": [1, 2]}', lambda document, brackets: len(document["a"])) == 2


def test_an_input_is_named_by_a_string() -> None:
    model = signature({"5": ("FP32", [-1])}, {"y": ("FP32", [-1])})
    body = b'{"inputs":[{"name":5,"datatype":"FP32","shape":[1],"data":[1]}]}'
    assert FastReader(model).decode(body) is None
    check_v2(model, body)


def test_many_floats_are_read_quickly_and_within_range() -> None:
    model = signature({"x": ("FP32", [-1])}, {"y": ("FP32", [-1])})
    numbers = np.linspace(-3e38, 3e38, 5000)
    assert FastNested(model).decode(json.dumps(numbers.tolist()).encode()) is not None
    numbers[77] = 1e39
    assert FastNested(model).decode(json.dumps(numbers.tolist()).encode()) is None
