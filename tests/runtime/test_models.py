"""Loading, binding and warming up TorchScript archives of every kind, in this process."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from slipway_runtime.contract import Datatype, FailureReason, Format, TensorSpec, WarmupSample
from slipway_runtime.failure import StartupError
from slipway_runtime.models.load import load_model, warm_up_model
from slipway_runtime.models.model import Model, PredictionError
from slipway_runtime.models.signature import Signature
from tests.runtime import archives as make

pytestmark = [pytest.mark.runtime, pytest.mark.timeout(300)]


class Doubled(torch.nn.Module):
    def forward(self, x: torch.Tensor, factor: float = 2.0) -> torch.Tensor:
        return x * factor


class Divided(torch.nn.Module):
    def forward(self, dividend: torch.Tensor, divisor: torch.Tensor) -> torch.Tensor:
        return dividend / divisor


class Pair(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x + 1, x.sum(dim=1)


class Listed(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x, x * 2]


class Found(NamedTuple):
    label: torch.Tensor
    score: torch.Tensor


class Named(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> Found:
        return Found(x.argmax(dim=1), x.amax(dim=1))


class Halved(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(torch.bfloat16)


class Nested(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        return x, (x, x)


class Complex(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.complex(x, x)


class OneByOne(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(1, 4)


class Worded(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise ValueError("this model wants attention")


Load = Callable[..., tuple[Model, Signature]]
ROWS = {"name": "x", "datatype": "FP32", "shape": [-1, 4]}


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """A module, and what its archive or its configuration says; a warm model and its signature out."""

    def load(module: torch.nn.Module, said: object = None, *samples: list[dict[str, Any]]) -> tuple[Model, Signature]:
        files = {} if said is None else {"slipway.json": said if isinstance(said, str) else json.dumps(said)}
        path = make.save_plain(module, tmp_path / "model.pt", files)
        wanted = [WarmupSample.model_validate({"inputs": inputs}) for inputs in samples]
        model = load_model(path, Format.AUTO, wanted)
        return model, warm_up_model(model, wanted)

    return load


def spec(name: str, datatype: Datatype, *shape: int) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=list(shape))


ONES = np.ones((2, 4), np.float32)


@pytest.mark.feature("torchscript")
def test_learns_the_outputs_when_the_archive_names_only_inputs(load: Load) -> None:
    model, signature = load(make.Linear(), {"inputs": [ROWS]})
    assert signature.outputs == (spec("output__0", Datatype.FP32, -1, 3),)
    np.testing.assert_array_equal(model.predict({"x": ONES})["output__0"], [[6.5, 21.5, 38.0]] * 2)


@pytest.mark.feature("warm-up")
def test_takes_the_signature_from_warm_up_samples_when_the_archive_has_none(load: Load) -> None:
    model, signature = load(make.Linear(), None, [{**ROWS, "shape": [1, 4]}], [{**ROWS, "shape": [3, 4]}])
    assert signature.inputs == (spec("x", Datatype.FP32, -1, 4),)
    assert model.predict({"x": ONES})["output__0"].shape == (2, 3)


@pytest.mark.parametrize(
    ("module", "names", "shapes"),
    [
        (Pair(), ["output__0", "output__1"], [[-1, 4], [-1]]),
        (Listed(), ["output__0", "output__1"], [[-1, 4], [-1, 4]]),
        (Named(), ["label", "score"], [[-1], [-1]]),
        (Halved(), ["output__0"], [[-1, 4]]),
    ],
)
def test_names_outputs_of_every_form(
    load: Load, module: torch.nn.Module, names: list[str], shapes: list[list[int]]
) -> None:
    _, signature = load(module, {"inputs": [ROWS]})
    assert [output.name for output in signature.outputs] == names
    assert [output.shape for output in signature.outputs] == shapes


def test_passes_inputs_by_name_when_forward_knows_the_names(load: Load) -> None:
    inputs = [
        {"name": "divisor", "datatype": "FP32", "shape": [-1, 1]},
        {"name": "dividend", "datatype": "FP32", "shape": [-1, 1]},
    ]
    model, _ = load(Divided(), {"inputs": inputs})
    given = {"dividend": np.full((1, 1), 6, np.float32), "divisor": np.full((1, 1), 3, np.float32)}
    assert model.predict(given)["output__0"].item() == 2


def test_passes_inputs_by_position_when_forward_has_other_names(load: Load) -> None:
    inputs = [{"name": "a", "datatype": "FP32", "shape": [-1, 1]}, {"name": "b", "datatype": "FP32", "shape": [-1, 1]}]
    model, _ = load(Divided(), {"inputs": inputs})
    given = {"a": np.full((1, 1), 6, np.float32), "b": np.full((1, 1), 3, np.float32)}
    assert model.predict(given)["output__0"].item() == 2


def test_leaves_arguments_with_defaults_to_the_model(load: Load) -> None:
    model, _ = load(Doubled(), {"inputs": [ROWS]})
    assert model.predict({"x": ONES})["output__0"].max() == 2


def test_leaves_a_borrowed_read_only_array_as_it_is(load: Load) -> None:
    model, _ = load(Doubled(), {"inputs": [ROWS]})
    borrowed = np.frombuffer(ONES.tobytes(), np.float32).reshape(2, 4)[::-1]
    np.testing.assert_array_equal(model.predict({"x": borrowed})["output__0"], ONES * 2)


def test_fails_with_the_models_own_words(tmp_path: Path) -> None:
    make.save_demanding(tmp_path / "model.pt")
    model = load_model(tmp_path / "model.pt", Format.AUTO, [])
    with pytest.raises(PredictionError, match=r"^negative input$"):
        model.predict({"x": np.array([[-1, 0]])})


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("{", "slipway.json inside the archive"),
        ("[]", "slipway.json inside the archive"),
        ({"inputs": []}, "at least one input"),
        ({"inputs": [ROWS, ROWS]}, "'x' appears twice"),
        ({"inputs": [{**ROWS, "datatype": "FLOAT"}]}, "inputs.0.datatype"),
        ({"inputs": [{**ROWS, "shape": [-2]}]}, "inputs.0.shape.0"),
        ({"inputs": [{**ROWS, "datatype": "BYTES"}]}, "'x' is BYTES"),
        ({"inputs": [ROWS, {**ROWS, "name": "y"}]}, "takes 1: ['x']. Expected as many"),
    ],
)
def test_does_not_load_when_the_signature_is_wrong(load: Load, said: object, expected: str) -> None:
    with pytest.raises(StartupError) as raised:
        load(make.Linear(), said)
    assert raised.value.reason == FailureReason.MODEL_LOAD_FAILED
    assert expected in raised.value.message


def test_does_not_load_when_an_argument_is_left_out(load: Load) -> None:
    with pytest.raises(StartupError, match=r"needs \['divisor'\] as well"):
        load(Divided(), {"inputs": [{**ROWS, "name": "dividend"}]})


@pytest.mark.feature("warm-up-before-ready")
@pytest.mark.parametrize(
    ("module", "said", "expected"),
    [
        (make.Linear(), {"inputs": [{**ROWS, "shape": [-1, 5]}]}, "x FP32 [1, 5]"),
        (OneByOne(), {"inputs": [ROWS]}, "Write the size instead of -1"),
        (Worded(), {"inputs": [ROWS]}, "this model wants attention"),
        (Nested(), {"inputs": [ROWS]}, "is a tuple, expected a tensor"),
        (Complex(), {"inputs": [ROWS]}, "which the protocol cannot carry"),
        (
            make.Linear(),
            {"inputs": [ROWS], "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 7]}]},
            "its signature says scores FP32 [-1, 7]",
        ),
        (
            make.Linear(),
            {"inputs": [ROWS], "outputs": [{**ROWS, "name": "a"}, {**ROWS, "name": "b"}]},
            "gave 1 outputs, its signature names 2",
        ),
    ],
)
def test_is_not_served_when_the_warm_up_prediction_fails(
    load: Load, module: torch.nn.Module, said: object, expected: str
) -> None:
    with pytest.raises(StartupError) as raised:
        load(module, said)
    assert raised.value.reason == FailureReason.WARM_UP_FAILED
    assert expected in raised.value.message
    assert "Traceback" not in raised.value.message


def test_is_not_served_when_a_sample_does_not_fit_the_archive(load: Load) -> None:
    with pytest.raises(StartupError, match=r"sample 1 has x FP32 \[1, 9\], the model takes x FP32 \[-1, 4\]"):
        load(make.Linear(), {"inputs": [ROWS]}, [{**ROWS, "shape": [1, 9]}])


def test_tells_both_ways_out_when_nothing_names_the_inputs(load: Load) -> None:
    with pytest.raises(StartupError) as raised:
        load(Divided())
    assert raised.value.reason == FailureReason.SIGNATURE_MISSING
    for part in ("dividend", "divisor", "slipway.torchscript.save", "spec.runtime.warmup.samples"):
        assert part in raised.value.message


def test_says_what_torch_says_when_an_archive_is_damaged(tmp_path: Path) -> None:
    path = make.save_plain(make.Linear(), tmp_path / "model.pt")
    damaged = tmp_path / "damaged.pt"
    with zipfile.ZipFile(path) as good, zipfile.ZipFile(damaged, "w") as bad:
        for member in good.infolist():
            content = good.read(member)
            bad.writestr(member.filename, b"def forward(" if member.filename.endswith(".py") else content)
    with pytest.raises(StartupError) as raised:
        load_model(damaged, Format.TORCH_SCRIPT, [])
    assert raised.value.reason == FailureReason.MODEL_LOAD_FAILED
    assert torch.__version__ in raised.value.message
    assert "\n" not in raised.value.message


def _write_state_dict(path: Path) -> None:
    torch.save(make.Linear().state_dict(), path)


def _write_export(path: Path) -> None:
    """The members that torch.export.save writes; the export itself would take a minute of importing."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("archive_format", "byteorder", "models/model.json", "data/weights/weight_0", "version"):
            archive.writestr(f"artifact/{name}", b"x")


def _write_numpy(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=ONES)


@pytest.mark.filterwarnings("ignore:.*:FutureWarning", "ignore:.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("write", "recognised"),
    [
        (_write_state_dict, "state dict"),
        (_write_export, "torch.export program"),
        (_write_numpy, "numpy arrays"),
        (lambda path: path.write_bytes(pickle.dumps({"a": 1})), "Python pickle"),
        (lambda path: path.write_bytes((2).to_bytes(8, "little") + b"{}"), "safetensors"),
        (lambda path: path.write_bytes(b"\x08\x08\x12\x07pytorch"), "ONNX"),
        (lambda path: path.write_bytes(b"GGUF\x03"), "GGUF"),
        (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"),
        (lambda path: path.write_bytes(b"<!DOCTYPE html><html>"), "HTML page"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "HDF5"),
        (lambda path: path.write_bytes(b""), "empty file"),
        (lambda path: path.write_bytes(b"PK\x03\x04 cut"), "cut short"),
        (lambda path: path.write_bytes(b"hello"), "no known kind"),
    ],
)
def test_names_what_an_unsupported_file_is(tmp_path: Path, write: Callable[[Path], object], recognised: str) -> None:
    path = tmp_path / "artifact"
    write(path)
    with pytest.raises(StartupError) as raised:
        load_model(path, Format.AUTO, [])
    assert raised.value.reason == FailureReason.UNSUPPORTED_FORMAT
    assert recognised in raised.value.message
    assert "TorchScript" in raised.value.message


@pytest.mark.feature("pickle-blocked")
def test_opens_no_pickle(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (marker.touch, ())

    path = tmp_path / "artifact"
    buffer = io.BytesIO()
    pickle.dump(Bomb(), buffer)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(StartupError):
        load_model(path, Format.TORCH_SCRIPT, [])
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("artifact/data.pkl", buffer.getvalue())
    with pytest.raises(StartupError):
        load_model(path, Format.TORCH_SCRIPT, [])
    assert not marker.exists()
