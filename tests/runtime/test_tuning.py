"""The load-time tuner on real archives: what it takes answers as the archive does, and it says what it did."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from slipway.torchscript import save
from slipway_runtime.contract import Datatype, Format, Precision, TuningConfig
from slipway_runtime.models.bfloat16 import from_bits, to_bits
from slipway_runtime.models.load import load_model, warm_up_model
from slipway_runtime.models.model import Model, PredictionError
from slipway_runtime.models.tuning import tune
from slipway_runtime.models.tuning.choice import Measured, Variant
from slipway_runtime.models.tuning.refusals import refuses_values
from tests.runtime import archives as make
from tests.runtime.conftest import StartRuntime
from tests.runtime.tunable import (
    Attention,
    Brain,
    Branching,
    ByName,
    Convolution,
    Dice,
    Embedding,
    Exponential,
    InPlace,
    Optional,
    Wide,
)

pytestmark = [pytest.mark.runtime, pytest.mark.timeout(300)]

Load = Callable[..., Model]
IMAGE = {"name": "image", "datatype": "FP32", "shape": [-1, 3, 32, 32]}
TOKENS = [
    {"name": "tokens", "datatype": "INT64", "shape": [-1, -1]},
    {"name": "mask", "datatype": "INT64", "shape": [-1, -1]},
]
ROWS = {"name": "x", "datatype": "FP32", "shape": [-1, 256]}


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On a busy machine threads wait for one another far longer than they compute."""
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """A module and its inputs in, the loaded model out; keywords are those of the tuning and `variant`."""

    def load(module: torch.nn.Module, inputs: list[dict[str, Any]], variant: str | None = None, **config: Any) -> Model:
        torch.manual_seed(1)
        path = tmp_path / "model.pt"
        if not path.exists():
            make.save_plain(module, path, {"slipway.json": json.dumps({"inputs": inputs})})
        return load_model(path, Format.AUTO, [], TuningConfig(**config), variant=variant)

    return load


def plain(load: Load, module: torch.nn.Module, inputs: list[dict[str, Any]]) -> Model:
    model = load(module, inputs, enabled=False)
    assert model.properties == {}
    return model


def draw(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


@pytest.mark.feature("tuner")
def test_what_is_taken_answers_as_the_archive_does_and_is_told(load: Load) -> None:
    module = Convolution()
    tuned = load(module, [IMAGE])
    archive = plain(load, module, [IMAGE])
    assert tuned.properties["variant"] in list(Variant)
    for variant in (Variant.FROZEN, Variant.OPTIMIZED, Variant.ONNX_RUNTIME):
        assert variant in tuned.properties["variants_tried"]
    assert "dropped" not in tuned.properties["variants_tried"]
    assert warm_up_model(tuned, []) == warm_up_model(archive, [])
    for rows in (1, 2, 5, 33):
        image = {"image": draw(rows, 3, 32, 32)}
        expected, actual = archive.predict(image), tuned.predict(image)
        np.testing.assert_allclose(actual["output__0"], expected["output__0"], rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(actual["output__1"], expected["output__1"])


@pytest.mark.parametrize("variant", [Variant.FROZEN, Variant.OPTIMIZED, Variant.ONNX_RUNTIME])
def test_every_variant_takes_every_size_and_any_order_of_inputs(load: Load, variant: Variant) -> None:
    module = Embedding()
    model = load(module, TOKENS, variant=variant)
    archive = plain(load, module, TOKENS)
    assert model.properties == {"variant": variant, "variant_note": "chosen before"}
    for rows, length in ((1, 1), (3, 7), (8, 40)):
        tokens = np.arange(rows * length).reshape(rows, length) % 64
        given = {"tokens": tokens, "mask": (tokens % 3 > 0).astype(np.int64)}
        np.testing.assert_allclose(
            model.predict(given)["output__0"], archive.predict(given)["output__0"], rtol=1e-3, atol=1e-5
        )


@pytest.mark.feature("tuner")
@pytest.mark.parametrize("many", [Variant.AS_SAVED, Variant.OPTIMIZED])
def test_two_variants_share_the_batch_sizes_and_answer_alike(load: Load, many: Variant) -> None:
    choice = f"{Variant.ONNX_RUNTIME}, {many} from 4 rows"
    model, archive = load(Convolution(), [IMAGE], variant=choice), plain(load, Convolution(), [IMAGE])
    alone = {variant: load(Convolution(), [IMAGE], variant=variant) for variant in (Variant.ONNX_RUNTIME, many)}
    assert model.properties == {"variant": choice, "variant_note": "chosen before"}
    assert warm_up_model(model, []) == warm_up_model(archive, [])
    for rows in (1, 3, 4, 33):
        image = {"image": draw(rows, 3, 32, 32)}
        target = np.empty((rows, 10), np.float32)
        actual = model.predict(image, {"output__0": target})["output__0"]
        assert actual is target
        np.testing.assert_allclose(actual, archive.predict(image)["output__0"], rtol=1e-3, atol=1e-4)
        used = alone[many if rows >= 4 else Variant.ONNX_RUNTIME]
        np.testing.assert_array_equal(actual, used.predict(image)["output__0"])


def test_where_two_are_worth_it_both_are_kept_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own times would say how busy it is."""
    measured = {Variant.OPTIMIZED: Measured(0.75, 0.7), Variant.ONNX_RUNTIME: Measured(0.4, 0.9)}
    monkeypatch.setattr(tune, "settle", lambda *_: 0.01)
    monkeypatch.setattr(tune, "race", lambda *_: (measured, {}))
    monkeypatch.setattr(tune, "find_crossing", lambda lone, many, between, last, clock: last)
    path = tmp_path / "cache" / "sha256" / ("c" * 64)
    path.parent.mkdir(parents=True)
    make.save_plain(Convolution(), path, {"slipway.json": json.dumps({"inputs": [IMAGE]})})
    first = load_model(path, Format.AUTO, [], TuningConfig())
    pair = re.fullmatch(r"ONNXRuntime, OptimizedTorchScript from (\d+) rows", first.properties["variant"])
    assert pair, first.properties
    assert int(pair[1]) > 1
    assert first.properties["variant_time_ratio"] == "0.40/0.70"
    assert "two forms" in first.properties["variant_note"]
    again = load_model(path, Format.AUTO, [], TuningConfig())
    assert again.properties == {"variant": pair[0], "variant_note": "chosen before"}
    monkeypatch.setattr(tune, "_PAIRED_BYTES", 1000)
    lone = load_model(path, Format.AUTO, [], TuningConfig(precision=Precision.BF16))
    assert lone.properties["variant"] == Variant.ONNX_RUNTIME, "larger weights are not kept twice"


def test_where_no_time_is_left_the_second_takes_over_where_it_was_seen_to_be_faster(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    def race(archive: Model, rivals: object, requests: list[Any], *_: object) -> tuple[dict[Variant, Measured], object]:
        monkeypatch.setattr(tune._Search, "out_of_time", True)
        sizes.extend(len(inputs["image"]) for inputs in requests)
        return {Variant.OPTIMIZED: Measured(0.75, 0.7), Variant.ONNX_RUNTIME: Measured(0.4, 0.9)}, {}

    sizes: list[int] = []
    monkeypatch.setattr(tune, "settle", lambda *_: 0.01)
    monkeypatch.setattr(tune, "race", race)
    model = load(Convolution(), [IMAGE])
    assert model.properties["variant"] == f"ONNXRuntime, OptimizedTorchScript from {sizes[-1]} rows"


def test_two_of_which_one_does_not_hold_here_fall_back_to_the_archive(load: Load) -> None:
    choice = f"{Variant.FROZEN}, {Variant.ONNX_RUNTIME} from 4 rows"
    model = load(Optional(), [ROWS], variant=choice)
    assert model.properties["variant"] == Variant.AS_SAVED
    assert f"{choice} was chosen before" in model.properties["variant_note"]


def test_heads_of_attention_go_to_the_other_runtime(load: Load, tmp_path: Path) -> None:
    save(Attention().eval(), tmp_path / "model.pt", inputs={"x": torch.zeros(1, 256)}, outputs=["y"])
    model, archive = load(Attention(), [ROWS], variant=Variant.ONNX_RUNTIME), plain(load, Attention(), [ROWS])
    assert model.properties["variant"] == Variant.ONNX_RUNTIME
    given = {"x": draw(5, 256)}
    np.testing.assert_allclose(model.predict(given)["y"], archive.predict(given)["y"], rtol=1e-3, atol=1e-5)


def test_the_exporter_prints_nothing_where_log_lines_go(load: Load, capfd: pytest.CaptureFixture[str]) -> None:
    model = load(Exponential(), [ROWS], variant=Variant.ONNX_RUNTIME)
    assert "matrix_exp" in model.properties["variant_note"]
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("variant", [Variant.FROZEN, Variant.ONNX_RUNTIME])
def test_a_branch_by_value_stays_a_branch(load: Load, variant: Variant) -> None:
    module = Branching()
    model, archive = load(module, [ROWS], variant=variant), plain(load, module, [ROWS])
    for given in (np.full((2, 256), 0.9, np.float32), np.full((2, 256), -0.9, np.float32)):
        np.testing.assert_allclose(
            model.predict({"x": given})["output__0"], archive.predict({"x": given})["output__0"], rtol=1e-3, atol=1e-5
        )


@pytest.mark.parametrize("variant", [Variant.AS_SAVED, Variant.FROZEN, Variant.ONNX_RUNTIME])
def test_outputs_are_written_where_the_caller_wants_them(load: Load, variant: Variant) -> None:
    model = load(Wide(), [ROWS], variant=variant)
    given, target = {"x": draw(3, 256)}, np.empty((3, 256), np.float32)
    expected = model.predict(given)["output__0"]
    assert model.predict(given, {"output__0": target})["output__0"] is target
    np.testing.assert_array_equal(target, expected)
    unfit = np.empty((2, 256), np.float32)
    assert model.predict(given, {"output__0": unfit})["output__0"].shape == (3, 256)


def test_a_model_that_answers_by_chance_is_left_alone(load: Load) -> None:
    model = load(Dice(), [ROWS])
    assert model.properties["variant"] == Variant.AS_SAVED
    assert "answers to one request differ" in model.properties["variant_note"]


def test_a_model_that_cannot_predict_is_left_to_the_warm_up(load: Load) -> None:
    model = load(Wide(), [{**ROWS, "shape": [-1, 7]}])
    assert model.properties["variant"] == Variant.AS_SAVED
    assert "nothing else was tried" in model.properties["variant_note"]


@pytest.mark.parametrize(("seconds", "fused"), [(0.0001, False), (0.01, True)])
def test_a_tiny_model_is_tried_only_where_calls_are_cheaper(
    load: Load, monkeypatch: pytest.MonkeyPatch, seconds: float, fused: bool
) -> None:
    """The machine's own times would say how busy it is."""
    monkeypatch.setattr(tune, "settle", lambda *_: seconds)
    tried = load(make.Linear(), [{**ROWS, "shape": [-1, 4]}]).properties["variants_tried"]
    assert Variant.ONNX_RUNTIME in tried
    assert (Variant.OPTIMIZED in tried) is fused


def test_a_model_that_refuses_values_goes_on_refusing_them(load: Load) -> None:
    model = load(make.Demanding(), [{"name": "x", "datatype": "INT64", "shape": [-1, 2]}])
    assert "ONNXRuntime dropped (the archive refuses some values" in model.properties["variants_tried"]
    with pytest.raises(PredictionError, match="negative input"):
        model.predict({"x": np.array([[1, -1]])})


@pytest.mark.parametrize(
    ("module", "refuses"),
    [(make.Demanding(), True), (torch.nn.BatchNorm1d(4).eval(), False), (make.Linear(), False)],
    ids=["by values", "by shapes", "nothing"],
)
def test_checks_of_shapes_are_told_from_checks_of_values(module: torch.nn.Module, refuses: bool) -> None:
    assert refuses_values(make.script(module)) is refuses


@pytest.mark.parametrize(
    ("module", "reason"),
    [(ByName(), "ONNXRuntime dropped ("), (Optional(), "the exporter passes arguments by position")],
)
def test_a_variant_that_cannot_be_is_dropped_with_its_reason(load: Load, module: torch.nn.Module, reason: str) -> None:
    model = load(module, [ROWS])
    assert reason in model.properties["variants_tried"]
    np.testing.assert_array_equal(
        list(model.predict({"x": draw(2, 256)})), list(plain(load, module, [ROWS]).predict({"x": draw(2, 256)}))
    )


def test_a_choice_that_does_not_hold_here_falls_back_to_the_archive(load: Load) -> None:
    model = load(Optional(), [ROWS], variant=Variant.ONNX_RUNTIME)
    assert model.properties["variant"] == Variant.AS_SAVED
    assert "ONNXRuntime was chosen before" in model.properties["variant_note"]


def test_less_precision_is_tried_only_when_asked_for(load: Load) -> None:
    module = Wide()
    assert "BF16" not in load(module, [ROWS]).properties["variants_tried"]
    tried = load(module, [ROWS], precision=Precision.BF16).properties["variants_tried"]
    assert Variant.BF16_AUTOCAST in tried
    assert Variant.BF16_WEIGHTS in tried


@pytest.mark.parametrize("variant", [Variant.BF16_AUTOCAST, Variant.BF16_WEIGHTS])
def test_with_less_precision_the_promised_element_types_stay(load: Load, variant: Variant) -> None:
    module = Wide()
    model, archive = load(module, [ROWS], variant=variant), plain(load, module, [ROWS])
    assert model.properties["variant"] == variant
    actual, expected = (one.predict({"x": draw(4, 256)})["output__0"] for one in (model, archive))
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, atol=0.1 * np.abs(expected).max())
    assert (actual != expected).any(), "it does compute in BF16"


def test_bf16_goes_in_and_comes_out_as_its_bits(load: Load) -> None:
    values = draw(2, 256)
    module = Brain()
    for config in ({"enabled": False}, {"enabled": True}):
        model = load(module, [{**ROWS, "datatype": "BF16"}], **config)
        signature = warm_up_model(model, [])
        assert signature.outputs[0].datatype is Datatype.BF16
        bits = model.predict({"x": to_bits(values)})["output__0"]
        assert bits.dtype == np.uint16
        with torch.no_grad():
            expected = module(torch.from_numpy(values).to(torch.bfloat16)).float().numpy()
        np.testing.assert_allclose(from_bits(bits), expected, rtol=2e-2, atol=1e-2)


def test_a_forward_that_writes_its_input_leaves_borrowed_memory_as_it_is(load: Load) -> None:
    model = plain(load, InPlace(), [ROWS])
    given = draw(2, 256)
    for _ in range(3):
        borrowed = given.copy()
        model.predict({"x": borrowed})
        np.testing.assert_array_equal(borrowed, given)


def test_an_output_that_is_its_input_is_a_copy(load: Load) -> None:
    model = plain(load, torch.nn.Identity(), [{**ROWS, "name": "input"}])
    for _ in range(3):
        borrowed = draw(2, 256)
        output = model.predict({"input": borrowed})["output__0"]
        borrowed[:] = 0
        np.testing.assert_array_equal(output, draw(2, 256))


def test_a_cached_artifact_is_tuned_once_for_each_setting(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "sha256" / ("a" * 64)
    path.parent.mkdir(parents=True)
    make.save_plain(Wide(), path, {"slipway.json": json.dumps({"inputs": [ROWS]})})
    first = load_model(path, Format.AUTO, [], TuningConfig())
    again = load_model(path, Format.AUTO, [], TuningConfig())
    assert "variants_tried" in first.properties
    assert again.properties == {"variant": first.properties["variant"], "variant_note": "chosen before"}
    other = load_model(path, Format.AUTO, [], TuningConfig(precision=Precision.BF16))
    assert "BF16" in other.properties["variants_tried"]


def test_a_variant_that_ended_the_process_twice_is_not_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "sha256" / ("b" * 64)
    path.parent.mkdir(parents=True)
    make.save_plain(Wide(), path, {"slipway.json": json.dumps({"inputs": [ROWS]})})
    load_model(path, Format.AUTO, [], TuningConfig())
    [notes] = (tmp_path / "cache" / "tuning").iterdir()
    notes.write_text(json.dumps({"trying": "ONNXRuntime", "interrupted": ["ONNXRuntime"]}))
    tried = load_model(path, Format.AUTO, [], TuningConfig()).properties["variants_tried"]
    assert "ONNXRuntime dropped (it ended the process twice before)" in tried


def test_the_models_metadata_tell_what_was_chosen(start_runtime: StartRuntime, tmp_path: Path) -> None:
    make.save_plain(Wide(), tmp_path / "model.pt", {"slipway.json": json.dumps({"inputs": [ROWS]})})
    artifact = {"uri": f"file://{tmp_path}/model.pt"}
    (tmp_path / "tuned.json").write_text(json.dumps({"name": "m", "artifact": artifact}))
    (tmp_path / "plain.json").write_text(json.dumps({"name": "m", "artifact": artifact, "tuning": {"enabled": False}}))
    answers = []
    for config in ("tuned.json", "plain.json"):
        server = start_runtime("--config", str(tmp_path / config)).wait_until_ready()
        properties = httpx.get(f"{server.uri}/v2/models/m").json()["properties"]
        answers.append(httpx.post(f"{server.uri}/predict", json=draw(3, 256).tolist()).json()["outputs"]["output__0"])
        assert ("variant" in properties) == (config == "tuned.json")
        if config == "tuned.json":
            assert properties["variant"] in list(Variant)
            assert any(line.get("variant") == properties["variant"] for line in server.log)
        server.kill()
    np.testing.assert_allclose(*answers, rtol=1e-3, atol=1e-5)
