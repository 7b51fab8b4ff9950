"""Where a model runs: the choice for every kind of container and model, and the sentence that explains it."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway_runtime.contract import Datatype, EngineConfig, EngineKind, Format, TensorSpec
from slipway_runtime.engines.choice import FAST_SECONDS, Situation, choose_engine, confirm
from slipway_runtime.engines.engine import LoadedModel
from slipway_runtime.engines.situation import look_around, visible_gpus
from slipway_runtime.models.signature import Signature

pytestmark = pytest.mark.unit

MIB = 2**20
AUTO = EngineConfig()
SMALL = Situation(Format.TORCH_SCRIPT, 10_000, cpus=4)
LARGE = Situation(Format.TORCH_SCRIPT, 100 * MIB, cpus=4)


def facts(seconds: float, *, steady: bool = True) -> LoadedModel:
    signature = Signature((TensorSpec(name="x", datatype=Datatype.FP32, shape=[-1, 4]),))
    return LoadedModel(Format.TORCH_SCRIPT, "cpu", signature, points={1: (seconds,) * 3}, steady=steady)


def test_a_small_model_is_tried_in_process_and_stays_when_it_is_fast() -> None:
    choice = choose_engine(AUTO, SMALL)
    assert (choice.kind, choice.on_trial) == (EngineKind.IN_PROCESS, True)
    settled = confirm(choice, AUTO, SMALL, facts(FAST_SECONDS / 10))
    assert (settled.kind, settled.on_trial) == (EngineKind.IN_PROCESS, False)
    assert "0.10 ms" in settled.reason


@pytest.mark.parametrize("measured", [facts(5 * FAST_SECONDS), facts(FAST_SECONDS / 10, steady=False)])
def test_a_small_model_that_is_slow_or_unsteady_moves_to_workers(measured: LoadedModel) -> None:
    settled = confirm(choose_engine(AUTO, SMALL), AUTO, SMALL, measured)
    assert settled.kind is EngineKind.WORKER
    assert "small" in settled.reason


def test_a_large_model_goes_to_workers_that_leave_the_gateway_a_cpu() -> None:
    choice = choose_engine(AUTO, LARGE)
    assert (choice.kind, choice.workers, choice.threads, choice.on_trial) == (EngineKind.WORKER, 3, 1, False)
    assert choice.describe() == (
        "The model runs in 3 worker processes with 1 thread each: the artifact has 100.0 MiB, so a hand-over is a small"
        " part of its work."
    )


def test_a_python_handler_is_isolated_and_alone_unless_more_are_asked_for() -> None:
    choice = choose_engine(AUTO, Situation(Format.PYTHON, 100, cpus=4))
    assert (choice.kind, choice.workers, choice.threads) == (EngineKind.WORKER, 1, 3)
    assert choose_engine(EngineConfig(workers=2), Situation(Format.PYTHON, 100, cpus=4)).workers == 2


@pytest.mark.parametrize("kind", [EngineKind.IN_PROCESS, EngineKind.WORKER])
@pytest.mark.parametrize("situation", [SMALL, LARGE, Situation(Format.PYTHON, 100, cpus=1, gpus=["0"])])
def test_a_kind_that_is_asked_for_is_taken_and_never_reconsidered(kind: EngineKind, situation: Situation) -> None:
    config = EngineConfig(kind=kind)
    choice = choose_engine(config, situation)
    assert choice.kind is kind
    assert confirm(choice, config, situation, facts(10.0, steady=False)) is choice
    assert str(kind) in choice.reason


def test_every_gpu_gets_a_worker_that_sees_no_other() -> None:
    choice = choose_engine(AUTO, Situation(Format.TORCH_SCRIPT, 10_000, cpus=16, gpus=["2", "GPU-abc"]))
    assert (choice.kind, choice.workers) == (EngineKind.WORKER, 2)
    assert [choice.variables(number)["CUDA_VISIBLE_DEVICES"] for number in range(2)] == ["2", "GPU-abc"]


def test_more_workers_than_gpus_share_them() -> None:
    choice = choose_engine(EngineConfig(workers=3), Situation(Format.TORCH_SCRIPT, MIB, cpus=16, gpus=["0", "1"]))
    assert [choice.variables(number)["CUDA_VISIBLE_DEVICES"] for number in range(3)] == ["0", "1", "0"]


@pytest.mark.parametrize(
    ("cpus", "workers", "threads"),
    [(1, 1, 1), (2, 2, 1), (3, 2, 1), (4, 3, 1), (5, 4, 1), (9, 4, 2), (17, 4, 4), (33, 8, 4)],
)
def test_cpus_are_divided_among_workers(cpus: int, workers: int, threads: int) -> None:
    choice = choose_engine(AUTO, Situation(Format.TORCH_SCRIPT, 100 * MIB, cpus=cpus))
    assert (choice.workers, choice.threads) == (workers, threads)
    assert workers * threads <= cpus


def test_workers_that_the_memory_does_not_hold_are_not_started() -> None:
    choice = choose_engine(AUTO, Situation(Format.TORCH_SCRIPT, 500 * MIB, cpus=33, memory_bytes=8 * 1024 * MIB))
    assert (choice.workers, choice.threads) == (2, 16)


def test_numbers_that_are_asked_for_win() -> None:
    choice = choose_engine(EngineConfig(workers=2, threads=5), LARGE)
    assert (choice.kind, choice.workers, choice.threads) == (EngineKind.WORKER, 2, 5)
    assert choose_engine(EngineConfig(workers=2), LARGE).threads == 1
    assert choose_engine(EngineConfig(workers=2), SMALL).kind is EngineKind.WORKER
    assert choose_engine(EngineConfig(threads=3), SMALL).threads == 3


def test_the_environment_limits_threads_unless_the_configuration_does() -> None:
    situation = Situation(Format.TORCH_SCRIPT, 100 * MIB, cpus=8, threads=2)
    assert choose_engine(AUTO, situation).variables(0)["OMP_NUM_THREADS"] == "2"
    assert choose_engine(EngineConfig(threads=6), situation).threads == 6


def test_the_choice_is_told_in_the_models_metadata() -> None:
    properties = choose_engine(AUTO, LARGE).properties
    assert properties["engine"] == "Worker"
    assert properties["engine_workers"] == "3"
    assert properties["engine_threads"] == "1"
    assert "100.0 MiB" in properties["engine_reason"]


@pytest.mark.parametrize(
    ("value", "gpus"),
    [
        ("", []),
        ("-1", []),
        ("0", ["0"]),
        ("3, 1", ["3", "1"]),
        ("0,-1,2", ["0"]),
        ("GPU-1a,GPU-2b", ["GPU-1a", "GPU-2b"]),
    ],
)
def test_visible_gpus_are_read_as_cuda_reads_them(value: str, gpus: list[str]) -> None:
    assert list(visible_gpus({"CUDA_VISIBLE_DEVICES": value})) == gpus


def test_an_artifact_that_is_not_there_is_left_to_the_loader(tmp_path: Path) -> None:
    situation = look_around(tmp_path / "nothing", Format.AUTO, {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "x"})
    assert (situation.format, situation.artifact_bytes, situation.threads) == (Format.AUTO, 0, None)


def test_a_folder_counts_with_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "a.py").write_bytes(b"x" * 10)
    (tmp_path / "inner/b.bin").write_bytes(b"x" * 20)
    situation = look_around(tmp_path, Format.PYTHON, {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "2,1"})
    assert (situation.format, situation.artifact_bytes, situation.threads) == (Format.PYTHON, 30, 2)
