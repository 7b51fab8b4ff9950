"""How batch sizes are measured, and what is found out about a model on the way."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from slipway_runtime.batching.sizes import DISCOVERY_LIMIT
from slipway_runtime.contract import ArtifactConfig, BatchingConfig, FailureReason, Format, RuntimeConfig
from slipway_runtime.engines.loading import make_plan, measure
from slipway_runtime.engines.memory import MemoryWatch
from slipway_runtime.engines.steadiness import is_steady
from slipway_runtime.failure import StartupError
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.model import DeviceMemoryError, PredictionError

pytestmark = pytest.mark.unit


def config(**batching: object) -> RuntimeConfig:
    return RuntimeConfig(
        name="m", artifact=ArtifactConfig(uri="file:///x"), batching=BatchingConfig.model_validate(batching)
    )


def inputs(size: int) -> Mapping[str, Array]:
    return {"x": np.zeros((size, 2), np.float32)}


def test_every_size_of_the_plan_is_measured_several_times() -> None:
    plan = make_plan(config(max_batch_size=4))
    measure(plan, lambda given: given, inputs)
    assert list(plan.points) == [1, 2, 3, 4]
    assert all(len(runs) == 8 for runs in plan.points.values())
    assert plan.max_batch_size == 4


def test_a_size_that_does_not_fit_is_refused_and_none_larger_tried() -> None:
    tried: list[int] = []

    def predict(given: Mapping[str, Array]) -> None:
        tried.append(len(given["x"]))
        if len(given["x"]) > 3:
            raise DeviceMemoryError("out of memory")

    plan = make_plan(config(max_batch_size=64))
    measure(plan, predict, inputs)
    assert plan.max_batch_size == 3
    assert max(tried) == 4


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (PredictionError("no"), FailureReason.WARM_UP_FAILED),
        (DeviceMemoryError("no"), FailureReason.OUT_OF_MEMORY),
        (MemoryError(), FailureReason.OUT_OF_MEMORY),
    ],
)
def test_a_model_that_cannot_run_at_all_says_why(raised: Exception, reason: FailureReason) -> None:
    def predict(given: Mapping[str, Array]) -> None:
        raise raised

    with pytest.raises(StartupError) as caught:
        measure(make_plan(config()), predict, inputs)
    assert caught.value.reason is reason


def test_without_batches_one_row_is_measured() -> None:
    plan = make_plan(config(mode="Disabled"))
    measure(plan, lambda given: given, inputs)
    assert list(plan.points) == [1]


def test_a_batch_that_would_not_fit_the_container_is_not_tried(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    status, reset = tmp_path / "self/status", tmp_path / "self/clear_refs"
    reset.touch()
    (tmp_path / "memory.max").write_text(str(1000 * 2**20))
    (tmp_path / "memory.current").write_text(str(600 * 2**20))
    status.write_text("VmRSS: 102400 kB\nVmHWM: 102400 kB\n")
    watch = MemoryWatch(tmp_path, tmp_path)
    assert watch.allows(1024)
    status.write_text("VmRSS: 102400 kB\nVmHWM: 204800 kB\n")
    watch.ran(16)
    assert reset.read_text() == "5"
    assert watch.free_bytes() == 400 * 2**20
    assert watch.allows(32)
    assert not watch.allows(33)


def test_batches_may_grow_where_no_maximum_was_given_and_as_far_as_the_memory_goes(tmp_path: Path) -> None:
    slow, failing = make_plan(config()), make_plan(config())
    slow.record(1, [2.0, 2.0])
    assert slow.next_size() is not None
    slow.record(2, [2.5, 2.5, 2.5])
    assert slow.next_size() is None, "the time of the start is over"
    assert (slow.max_batch_size, slow.ceiling) == (2, DISCOVERY_LIMIT)
    slow.bound(100)
    assert slow.ceiling == 100
    slow.bound(1)
    assert slow.ceiling == 2, "what was measured stays"
    failing.record(1, [0.1])
    failing.refuse(2)
    assert (failing.max_batch_size, failing.ceiling) == (1, 1)
    assert make_plan(config(max_batch_size=8)).ceiling == 8
    assert make_plan(config(allowed_batch_sizes=[2, 6])).ceiling == 6
    assert make_plan(config(mode="Disabled")).ceiling == 1


def test_the_room_for_larger_batches_is_half_of_the_free_memory(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    status = tmp_path / "self/status"
    (tmp_path / "self/clear_refs").touch()
    (tmp_path / "memory.max").write_text(str(1000 * 2**20))
    (tmp_path / "memory.current").write_text(str(600 * 2**20))
    status.write_text("VmRSS: 102400 kB\nVmHWM: 102400 kB\n")
    watch = MemoryWatch(tmp_path, tmp_path)
    watch.ran(4)
    assert watch.room_rows(4) == 50, "growth too small to be told from noise may be 4 MiB a row"
    status.write_text("VmRSS: 102400 kB\nVmHWM: 204800 kB\n")
    watch.ran(4)
    assert watch.room_rows(4) == 8
    (tmp_path / "memory.max").write_text("max")
    assert watch.room_rows(4) is None


def archive(path: Path, code: str) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("m/code/__torch__.py", code)
    return path


def test_code_that_loops_may_take_any_time(tmp_path: Path) -> None:
    straight = archive(tmp_path / "straight.pt", "def forward(self, x):\n  return torch.relu(x)\n")
    loops = archive(tmp_path / "loops.pt", "def forward(self, x):\n  for _0 in range(n):\n    x = torch.mm(x, x)\n")
    assert is_steady(straight, Format.TORCH_SCRIPT)
    assert not is_steady(loops, Format.TORCH_SCRIPT)
    assert not is_steady(straight, Format.PYTHON)
    assert not is_steady(tmp_path / "none.pt", Format.TORCH_SCRIPT)
