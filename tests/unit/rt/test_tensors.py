"""Tensors in JSON: every array comes back as it went, everything else is refused with a reason and never a crash."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from slipway_runtime.contract import Datatype, TensorSpec
from slipway_runtime.models import bfloat16
from slipway_runtime.models.datatypes import NUMPY, Array
from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol import jsontext
from slipway_runtime.protocol.errors import ApiError
from slipway_runtime.protocol.nestedjson import NestedWriter
from slipway_runtime.protocol.predict.nested import decode_inputs
from slipway_runtime.protocol.tensors import decode_tensor, dump_array, has_null, to_json_values
from slipway_runtime.protocol.v2.request import decode_content

pytestmark = pytest.mark.unit

T = TypeVar("T")

SOME = settings(max_examples=60, deadline=None)
"""No deadline: a busy machine is no fault of the code."""
SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
SIGNATURE = Signature(
    (
        TensorSpec(name="x", datatype=Datatype.FP32, shape=[-1, 2]),
        TensorSpec(name="n", datatype=Datatype.INT8, shape=[-1]),
    ),
    (TensorSpec(name="y", datatype=Datatype.FP32, shape=[-1, 2]),),
)


def outcome(decode: Callable[[], T]) -> T | ApiError:
    """What is decoded, or the refusal; any other exception is a fault."""
    try:
        return decode()
    except ApiError as error:
        return error


@st.composite
def finite_arrays(draw: st.DrawFn) -> Array:
    dtype = draw(st.sampled_from(list(NUMPY.values())))
    elements = {"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else None
    array: Array = draw(arrays.arrays(dtype, draw(SHAPES), elements=elements))
    return array


@SOME
@given(finite_arrays(), st.booleans())
def test_an_array_survives_json_flat_and_nested(array: Array, nested: bool) -> None:
    datatype = next(name for name, dtype in NUMPY.items() if dtype == array.dtype)
    data = json.loads(dump_array(array if nested else array.reshape(-1)))
    spec = TensorSpec(name="x", datatype=datatype, shape=list(array.shape))
    back = decode_tensor(spec, array.shape, data)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)
    assert not np.shares_memory(back, array)


@SOME
@given(arrays.arrays(np.uint16, SHAPES))
def test_bf16_survives_json(bits: Array) -> None:
    spec = TensorSpec(name="x", datatype=Datatype.BF16, shape=list(bits.shape))
    numbers = to_json_values(spec, bits)
    if np.isfinite(numbers).all():
        back = decode_tensor(spec, bits.shape, json.loads(dump_array(numbers)))
        np.testing.assert_array_equal(bfloat16.from_bits(back), numbers)


@SOME
@given(st.lists(st.text(max_size=5), max_size=5))
def test_text_survives_json(texts: list[str]) -> None:
    spec = TensorSpec(name="x", datatype=Datatype.BYTES, shape=[-1])
    array = decode_tensor(spec, [len(texts)], texts)
    assert array.tolist() == [text.encode() for text in texts]
    assert json.loads(dump_array(to_json_values(spec, array))) == texts


def test_bytes_that_are_no_text_are_refused_in_json() -> None:
    spec = TensorSpec(name="x", datatype=Datatype.BYTES, shape=[-1])
    with pytest.raises(ApiError, match="'x' holds bytes that are no UTF-8 text"):
        to_json_values(spec, np.array([b"\xff"], object))


@SOME
@given(arrays.arrays(np.float32, SHAPES))
def test_what_is_not_finite_is_null_and_marked(array: Array) -> None:
    text = dump_array(array.reshape(-1))
    assert has_null(array, text) != bool(np.isfinite(array).all())
    assert [value is None for value in json.loads(text)] == (~np.isfinite(array)).reshape(-1).tolist()


@SOME
@given(st.lists(st.integers(0, 3), max_size=3), JSON, st.sampled_from(list(NUMPY)))
def test_any_data_is_decoded_to_its_shape_or_refused(shape: list[int], data: object, datatype: Datatype) -> None:
    spec = TensorSpec(name="x", datatype=datatype, shape=shape)
    array = outcome(lambda: decode_tensor(spec, shape, data))
    if isinstance(array, ApiError):
        assert array.status == 400
        assert "x" in array.message
    else:
        assert array.shape == tuple(shape)
        assert array.dtype == NUMPY[datatype]
        assert array.dtype.kind != "f" or np.isfinite(array).all()


@SOME
@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_parsed_or_refused(body: bytes) -> None:
    value = outcome(lambda: jsontext.parse(body))
    if isinstance(value, ApiError):
        assert value.status == 400
        assert value.code in ("invalid_json", "non_finite_json")
    else:
        json.dumps(value)


TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["x", "n", "z"]) | JSON,
        "datatype": st.sampled_from(["FP32", "INT8", "FP64", "BYTES"]) | JSON,
        "shape": st.lists(st.integers(-1, 3), max_size=3) | JSON,
        "data": st.lists(st.integers(-200, 200), max_size=6) | JSON,
        "parameters": JSON,
    },
)


@SOME
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "inputs": st.lists(TENSOR | JSON, max_size=3) | JSON,
            "outputs": JSON,
            "id": JSON,
            "parameters": JSON,
        },
    )
)
def test_any_v2_request_is_decoded_or_refused(content: dict[str, Any]) -> None:
    request = outcome(lambda: decode_content(content, memoryview(b""), SIGNATURE))
    if isinstance(request, ApiError):
        assert request.status == 400
        jsontext.render(request.body(request_id="r", model="m"))
    else:
        assert set(request.inputs) == {"x", "n"}
        assert request.inputs["x"].shape[0] == request.inputs["n"].shape[0]


@SOME
@given(JSON | st.fixed_dictionaries({"inputs": JSON}) | st.fixed_dictionaries({"instances": JSON}))
def test_any_nested_request_is_decoded_or_refused(content: object) -> None:
    inputs = outcome(lambda: decode_inputs(content, SIGNATURE))
    if isinstance(inputs, ApiError):
        assert inputs.status == 400
        jsontext.render(inputs.body(request_id="r", model="m"))
    else:
        assert set(inputs) == {"x", "n"}


@SOME
@given(arrays.arrays(np.float32, SHAPES.filter(lambda shape: math.prod(shape) > 0)))
def test_a_nested_answer_has_the_shape_of_its_array(array: Array) -> None:
    signature = Signature((), (TensorSpec(name="y", datatype=Datatype.FP32, shape=list(array.shape)),))
    text, _ = NestedWriter(signature).by_name(["y"], {"y": array})
    assert np.asarray(json.loads(text)["y"], dtype=np.float64).shape == array.shape


@pytest.mark.parametrize("datatype", [d for d in NUMPY if NUMPY[d].kind in "iu" and d is not Datatype.BF16])
def test_integers_are_taken_to_their_bounds_and_not_beyond(datatype: Datatype) -> None:
    bounds = np.iinfo(NUMPY[datatype])
    spec = TensorSpec(name="x", datatype=datatype, shape=[2])
    assert decode_tensor(spec, [2], [int(bounds.min), int(bounds.max)]).tolist() == [bounds.min, bounds.max]
    for value in (int(bounds.min) - 1, int(bounds.max) + 1):
        with pytest.raises(ApiError, match="outside the range"):
            decode_tensor(spec, [2], [0, value])


def test_a_value_that_overflows_its_float_is_refused() -> None:
    spec = TensorSpec(name="x", datatype=Datatype.FP16, shape=[1])
    assert decode_tensor(spec, [1], [65504]).tolist() == [65504]
    with pytest.raises(ApiError, match="outside the range of FP16"):
        decode_tensor(spec, [1], [70000])
    with pytest.raises(ApiError, match="outside the range of BF16"):
        decode_tensor(TensorSpec(name="x", datatype=Datatype.BF16, shape=[1]), [1], [3.4e38])
