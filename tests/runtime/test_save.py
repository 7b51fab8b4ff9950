"""`slipway.torchscript.save`: what it writes is served as it was promised, and nothing else is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from slipway.torchscript import SaveError, save
from slipway_runtime.contract import Datatype, Format, TensorSpec
from slipway_runtime.models.load import load_model, warm_up_model
from tests.runtime import archives as make

pytestmark = [pytest.mark.runtime, pytest.mark.timeout(300)]


class Baked(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.repeat(1, x.shape[0] if isinstance(x.shape[0], int) else int(x.shape[0]))


class Dropping(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dropout(x)


def spec(name: str, datatype: Datatype, *shape: int) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=list(shape))


def test_writes_names_types_and_a_batch_of_any_size(tmp_path: Path) -> None:
    path = tmp_path / "linear.pt"
    signature = save(make.Linear(), path, inputs={"image": torch.zeros(1, 4)}, outputs=["scores"])
    assert signature.inputs == (spec("image", Datatype.FP32, -1, 4),)
    assert signature.outputs == (spec("scores", Datatype.FP32, -1, 3),)
    model = load_model(path, Format.AUTO, [])
    assert warm_up_model(model, []) == signature
    np.testing.assert_array_equal(model.predict({"image": np.zeros((1, 4), np.float32)})["scores"], [[0.5, -0.5, 0]])


def test_writes_sizes_that_vary(tmp_path: Path) -> None:
    path = tmp_path / "varying.pt"
    examples = {"tokens": torch.ones(2, 6, dtype=torch.int64), "mask": torch.ones(2, 6, dtype=torch.int64)}
    axes = {"tokens": [0, 1], "mask": [0, 1]}
    signature = save(make.Varying(), path, inputs=examples, outputs=["kept", "count"], dynamic_axes=axes)
    assert [list(tensor.shape) for tensor in (*signature.inputs, *signature.outputs)] == [
        [-1, -1],
        [-1, -1],
        [-1, -1],
        [-1],
    ]
    model = load_model(path, Format.AUTO, [])
    warm_up_model(model, [])
    tokens = np.arange(10).reshape(1, 10)
    assert model.predict({"tokens": tokens, "mask": np.ones_like(tokens)})["count"].tolist() == [45]


def test_keeps_the_names_of_a_dict_and_selects_among_them(tmp_path: Path) -> None:
    examples = {
        "numbers": torch.ones(1, 2),
        "indices": torch.zeros(1, 3, dtype=torch.int64),
        "flags": torch.zeros(1, 2, dtype=torch.bool),
    }
    signature = save(make.script(make.Mixed()), tmp_path / "mixed.pt", inputs=examples, outputs=["any", "sums"])
    assert [tensor.name for tensor in signature.outputs] == ["any", "sums"]


def test_saves_a_module_in_training_as_it_will_predict(tmp_path: Path) -> None:
    module = Dropping().train()
    save(module, tmp_path / "dropping.pt", inputs={"x": torch.ones(1, 64)})
    assert module.training, "the caller's module goes on training"
    model = load_model(tmp_path / "dropping.pt", Format.AUTO, [])
    ones = np.ones((1, 64), np.float32)
    np.testing.assert_array_equal(model.predict({"x": ones})["output__0"], ones)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(
    ("module", "inputs", "options", "expected"),
    [
        (Baked(), {"x": torch.ones(1, 2)}, {}, "pass torch.jit.script"),
        (make.Linear(), {"x": torch.zeros(1, 5)}, {}, "cannot be traced"),
        (make.Linear(), {"x": torch.zeros(1, 4)}, {"outputs": ["a", "b"]}, "gives 1 outputs"),
        (make.Linear(), {"x": torch.zeros(1, 4)}, {"dynamic_axes": {"y": [0]}}, "names ['y']"),
        (make.Linear(), {"x": torch.zeros(1, 4)}, {"dynamic_axes": {"x": [2]}}, "names [2]"),
        (make.Linear(), {"x": torch.zeros(1, 4, dtype=torch.complex64)}, {}, "cannot send"),
    ],
)
def test_leaves_the_file_as_it_was_when_a_promise_would_break(
    tmp_path: Path, module: torch.nn.Module, inputs: dict[str, torch.Tensor], options: dict[str, object], expected: str
) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"the older one")
    with pytest.raises(SaveError) as raised:
        save(module, path, inputs, **options)  # type: ignore[arg-type]
    assert expected in str(raised.value)
    assert path.read_bytes() == b"the older one"
    assert list(tmp_path.iterdir()) == [path]
