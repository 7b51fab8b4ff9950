"""Samples of a file are held to what the API holds a manifest's own to, and a refusal names the place and the rule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slipway_runtime.config import read_config
from slipway_runtime.contract import (
    WARMUP_DIRECTORY,
    WARMUP_INPUTS_LIMIT,
    WARMUP_SAMPLES_LIMIT,
    Datatype,
    FailureReason,
    RuntimeConfig,
    Stage,
)
from slipway_runtime.failure import StartupError
from slipway_runtime.samplefile import describe_place, read_samples

pytestmark = pytest.mark.unit

IMAGE: dict[str, Any] = {"name": "image", "datatype": "FP32", "shape": [-1, 1, 8, 8]}


def sample(*inputs: dict[str, Any]) -> dict[str, Any]:
    return {"inputs": list(inputs or [IMAGE])}


def written(folder: Path, content: object) -> str:
    path = folder / "samples.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def refusal(path: str) -> str:
    with pytest.raises(StartupError) as caught:
        read_samples(path)
    assert (caught.value.stage, caught.value.reason) == (Stage.CONFIG, FailureReason.INVALID_CONFIG)
    return caught.value.message


def configured(folder: Path, **more: Any) -> RuntimeConfig:
    path = folder / "config.json"
    path.write_text(json.dumps({"name": "digits", "artifact": {"uri": "file:///model.pt"}, **more}))
    return read_config(path, {})


def test_samples_of_a_file_become_those_of_the_configuration(tmp_path: Path) -> None:
    ids = {"name": "ids", "shape": [1, 128]}
    config = configured(tmp_path, warmupSamplesPath=written(tmp_path, [sample(IMAGE, ids), sample(IMAGE, ids)]))
    assert config.warmup_samples_path is None, "workers get the samples, and need not find the file"
    assert [len(found.inputs) for found in config.warmup_samples] == [2, 2]
    image, tokens = config.warmup_samples[1].inputs
    assert (image.name, image.datatype, image.shape) == ("image", Datatype.FP32, [-1, 1, 8, 8])
    assert tokens.datatype is Datatype.FP32, "as in a manifest, where it is the default too"
    assert RuntimeConfig.model_validate_json(config.to_json()) == config


def test_samples_in_two_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="beside warmupSamples, expected one of the two"):
        configured(tmp_path, warmupSamplesPath=written(tmp_path, [sample()]), warmupSamples=[sample()])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ("Invalid JSON", "EOF")),
        ("samples:\n- inputs: []\n", ("Invalid JSON",)),
        ("[" * 100_000, ("Invalid JSON", "recursion limit")),
        ({"samples": [sample()]}, ("should be a valid array", "Expected a list such as")),
        ([], ("at least 1 item",)),
        ([sample()] * (WARMUP_SAMPLES_LIMIT + 1), (f"at most {WARMUP_SAMPLES_LIMIT} items",)),
        ([sample(), {}], ("[1].inputs", "required")),
        ([sample(), {"inputs": []}], ("[1].inputs", "at least 1 item")),
        (
            [sample(*({"name": f"x{n}", "shape": [1]} for n in range(WARMUP_INPUTS_LIMIT + 1)))],
            ("[0].inputs", f"at most {WARMUP_INPUTS_LIMIT} items"),
        ),
        ([sample(IMAGE, IMAGE)], ("[0].inputs", "'image'", "given twice")),
        ([sample(), sample(IMAGE | {"shape": [0, 2]})], ("[1].inputs[0].shape[0]", "got 0", "Write -1 for a size")),
        ([sample(IMAGE | {"shape": [1, -2]})], ("[0].inputs[0].shape[1]", "got -2", "greater than or equal to -1")),
        ([sample(IMAGE | {"shape": [1_000_000_001]})], ("[0].inputs[0].shape[0]", "less than or equal to 1000000000")),
        ([sample(IMAGE | {"shape": [1] * 17})], ("[0].inputs[0].shape", "at most 16 items")),
        ([sample(IMAGE | {"shape": ["8"]})], ("[0].inputs[0].shape[0]", "got '8'", "valid integer")),
        ([sample(IMAGE | {"shape": []})], ("[0].inputs[0].shape", "at least 1 item")),
        ([sample(IMAGE | {"datatype": "float32"})], ("[0].inputs[0].datatype", "got 'float32'", "'FP32'")),
        ([sample(IMAGE | {"name": ""})], ("[0].inputs[0].name", "got ''", "at least 1 character")),
        ([sample(IMAGE | {"data": [1.0]})], ("[0].inputs[0].data", "Extra inputs are not permitted")),
    ],
)
def test_a_sample_that_no_manifest_could_hold_is_refused_with_its_place_and_rule(
    content: object, words: tuple[str, ...], tmp_path: Path
) -> None:
    said = refusal(written(tmp_path, content))
    for part in ("warmupSamplesPath", *words):
        assert part in said
    assert len(said) < 1000, "a status holds no more"


def test_more_bytes_than_a_config_map_holds_are_refused_before_they_are_parsed(tmp_path: Path) -> None:
    assert "more than 1048576 bytes" in refusal(written(tmp_path, "[" + " " * 2**20 + "]"))


def test_a_missing_file_is_named_with_what_to_write(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none.json", "No such file"), (tmp_path, "Is a directory")):
        said = refusal(str(path))
        assert str(path) in said
        assert why in said
        assert '"inputs"' in said


def test_in_a_pod_the_config_map_and_its_key_are_named() -> None:
    path = f"{WARMUP_DIRECTORY}/digits-warmup/small.json"
    said = refusal(path)
    for part in (
        "no ConfigMap digits-warmup with the key small.json",
        "spec.runtime.warmup.configMapRef",
        "kubectl create configmap digits-warmup --from-file=small.json",
    ):
        assert part in said
    assert describe_place(path) == "ConfigMap digits-warmup, key small.json"
