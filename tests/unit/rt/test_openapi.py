"""The page of a model, whatever its signature: examples that are answered, and none that a browser cannot show."""

from __future__ import annotations

import json
from math import prod
from typing import Any

import pytest

from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.predict import PredictCodec
from slipway_runtime.protocol.v1 import V1Codec
from slipway_runtime.protocol.v2 import V2Codec
from slipway_runtime.serving.openapi.document import build_openapi
from tests.unit.rt.bodies import RGB, form, png
from tests.unit.rt.protocols import IMAGE, ONE, TEXT, TWO, signature

pytestmark = pytest.mark.unit

PHOTOGRAPH = signature({"image": ("FP32", [-1, 3, 224, 224])}, {"mask": ("FP32", [-1, 21, 224, 224])})
MODELS = {
    "one": ONE,
    "two": TWO,
    "text": TEXT,
    "image": IMAGE,
    "scalar": signature({"x": ("INT32", [])}, {"y": ("INT32", [])}),
    "open": signature({"x": ("BF16", [-1, -1, -1])}, {"y": ("BOOL", [-1])}),
    "fixed": signature({"x": ("BOOL", [2, 2])}, {"y": ("FP64", [2])}),
    "photograph": PHOTOGRAPH,
}


def bodies(model: Signature) -> dict[str, dict[str, Any]]:
    """What each operation that predicts takes, by its last word."""
    paths = build_openapi("m", model, "1")["paths"]
    taken = {"v2": "/v2/models/m/infer", "v1": "/v1/models/m:predict", "predict": "/predict"}
    return {name: paths[path]["post"]["requestBody"]["content"] for name, path in taken.items()}


@pytest.mark.feature("openapi")
@pytest.mark.parametrize("name", sorted(set(MODELS) - {"photograph"}))
def test_each_example_is_a_request_that_the_model_takes(name: str) -> None:
    model = MODELS[name]
    content = bodies(model)
    for protocol, codec in (("v2", V2Codec("m", model)), ("v1", V1Codec(model)), ("predict", PredictCodec("m", model))):
        example = content[protocol]["application/json"]["example"]
        assert set(codec.decode({}, json.dumps(example).encode()).inputs) == {spec.name for spec in model.inputs}
    fields = content["predict"]["multipart/form-data"]["example"]
    kind, body = form(*((field, "", text.encode()) for field, text in fields.items()))
    assert PredictCodec("m", model).decode({b"content-type": kind}, body).inputs.keys() == fields.keys()


def sampled(schema: Any) -> int:
    """How many values Swagger makes up of a schema that has no example: as many elements as there are at least."""
    if isinstance(schema, list):
        return sum(map(sampled, schema))
    if not isinstance(schema, dict):
        return 0
    if schema.get("type") == "array":
        return max(1, schema.get("minItems", 1)) * max(1, sampled(schema.get("items", {})))
    return 1 + sum(map(sampled, schema.values()))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_no_more_values_are_made_up_than_a_page_can_show(name: str) -> None:
    document = build_openapi("m", MODELS[name], "1")
    assert sampled(document["paths"]) < 10_000
    assert len(json.dumps(document)) < 1_000_000


def test_a_photograph_is_asked_for_first_where_lists_would_be_too_long() -> None:
    content = bodies(PHOTOGRAPH)["predict"]
    assert next(iter(content)) == "image/*"
    assert next(iter(bodies(IMAGE)["predict"])) == "application/json"
    assert "example" not in content["application/json"]
    decoded = PredictCodec("m", PHOTOGRAPH).decode({b"content-type": b"image/*"}, png(RGB))
    assert prod(decoded.inputs["image"].shape) == 3 * 224 * 224
