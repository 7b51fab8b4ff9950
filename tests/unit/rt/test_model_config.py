"""The configuration in Triton's words, as its clients and tools read it."""

from __future__ import annotations

from typing import Any

import pytest

from slipway_runtime.contract import ArtifactConfig, Format, RuntimeConfig
from slipway_runtime.engines.engine import LoadedModel
from slipway_runtime.protocol.v2.metadata import model_config, repository_index
from tests.unit.rt.protocols import signature

pytestmark = pytest.mark.unit


def config_of(datatype: str, shape: list[int], **properties: str) -> dict[str, Any]:
    loaded = LoadedModel(
        Format.TORCH_SCRIPT,
        "cpu",
        signature({"x": (datatype, shape)}, {"y": ("FP32", [-1, 2])}),
        {1: (0.001,)},
        max_batch_size=8,
        properties=properties,
    )
    return model_config(RuntimeConfig(name="m", artifact=ArtifactConfig(uri="file:///m")), loaded)


@pytest.mark.parametrize(
    ("datatype", "shape", "layout", "dims"),
    [
        ("FP32", [-1, 3, 224, 224], "FORMAT_NCHW", [3, 224, 224]),
        ("UINT8", [-1, -1, -1, 3], "FORMAT_NHWC", [-1, -1, 3]),
        ("FP16", [-1, 1, 28, 28], "FORMAT_NCHW", [1, 28, 28]),
        ("FP32", [-1, 28, 28], "FORMAT_NONE", [28, 28]),
        ("INT64", [-1, 3, 8, 8], "FORMAT_NONE", [3, 8, 8]),
        ("FP32", [-1, 4], "FORMAT_NONE", [4]),
        ("FP32", [-1, 3, 8, 3], "FORMAT_NONE", [3, 8, 3]),
    ],
)
def test_the_layout_of_images_is_told(datatype: str, shape: list[int], layout: str, dims: list[int]) -> None:
    """Triton's image clients lay out what they send by it, and refuse a model without it."""
    (told,) = config_of(datatype, shape)["input"]
    assert (told["format"], told["dims"], told["data_type"]) == (layout, dims, f"TYPE_{datatype}")


def test_as_many_instances_are_told_as_workers_run() -> None:
    assert config_of("FP32", [-1, 4], engine_workers="3")["instance_group"][0]["count"] == 3
    assert config_of("FP32", [-1, 4])["instance_group"][0]["count"] == 1


def test_the_index_leaves_out_what_is_not_ready_where_it_is_asked_to() -> None:
    (entry,) = repository_index("m", False)
    assert (entry["name"], entry["state"]) == ("m", "UNAVAILABLE")
    assert repository_index("m", False, only_ready=True) == []
    assert [entry["state"] for entry in repository_index("m", True, only_ready=True)] == ["READY"]
