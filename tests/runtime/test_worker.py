"""Batches through real worker processes: shared memory, errors of the model, several workers, start and end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from slipway_runtime.contract import Datatype, FailureReason, Format, Stage
from slipway_runtime.engines.worker.worker import State
from slipway_runtime.failure import StartupError
from slipway_runtime.models.model import DeviceMemoryError, PredictionError
from tests.runtime.workers import Workers, children, exists, open_workers, shared_regions

pytestmark = pytest.mark.runtime


@pytest.fixture(scope="module")
def linear_workers(archives: Path) -> Iterator[Workers]:
    """Two workers that serve `Linear`."""
    with open_workers(archives / "linear.pt", workers=2) as workers:
        yield workers


def scores(rows: int, value: float) -> list[list[float]]:
    """What `Linear` answers to rows of one value."""
    return [[6 * value + 0.5, 22 * value - 0.5, 38 * value]] * rows


@pytest.mark.feature("warm-up")
def test_the_start_tells_what_was_loaded_and_measured(linear_workers: Workers) -> None:
    model = linear_workers.model
    assert (model.format, model.device) == (Format.TORCH_SCRIPT, "cpu")
    assert [(spec.name, spec.datatype, spec.shape) for spec in model.signature.outputs] == [
        ("scores", Datatype.FP32, [-1, 3])
    ]
    assert set(model.points) >= {1, 2, 4}
    assert model.max_batch_size > 1
    assert linear_workers.stages == [Stage.LOAD, Stage.WARM_UP]
    assert linear_workers.engine.slots == linear_workers.engine.available == 2


@pytest.mark.feature("one-copy")
def test_rows_are_written_where_the_worker_reads_them(linear_workers: Workers) -> None:
    engine = linear_workers.engine
    for rows in (1, 7, 1000):
        inputs = engine.allocate({"x": ((rows, 4), np.dtype(np.float32))})
        inputs["x"][...] = rows
        execution = linear_workers.predict(inputs)
        assert execution.outputs is not None
        assert execution.compute_seconds > 0
        np.testing.assert_allclose(execution.outputs["scores"], scores(rows, rows), rtol=1e-6)
        engine.release(execution)


def test_arrays_from_elsewhere_are_taken_as_well(linear_workers: Workers) -> None:
    strided = np.ones((8, 8), np.float32)[::2, ::-2]
    strided.setflags(write=False)
    assert linear_workers.answer({"x": strided}) == {"scores": scores(4, 1)}


def test_outputs_can_be_read_while_later_batches_are_computed(linear_workers: Workers) -> None:
    held = [linear_workers.predict({"x": np.full((3, 4), value, np.float32)}) for value in range(4)]
    for value, execution in enumerate(held):
        assert execution.outputs is not None
        assert execution.outputs["scores"].tolist() == scores(3, value)
        linear_workers.engine.release(execution)


def test_shared_memory_grows_with_the_batch_and_is_used_again(linear_workers: Workers) -> None:
    engine = linear_workers.engine
    large = np.ones((100_000, 4), np.float32)
    for _ in range(3):
        execution = linear_workers.predict({"x": large})
        assert execution.outputs is not None
        assert execution.outputs["scores"].shape == (100_000, 3)
        assert execution.outputs["scores"][-1].tolist() == scores(1, 1)[0]
        engine.release(execution)
    before = engine.shared_memory_bytes
    assert before >= large.nbytes
    for _ in range(10):
        linear_workers.engine.release(linear_workers.predict({"x": large}))
    assert engine.shared_memory_bytes == before


def test_a_failing_batch_is_told_apart_from_a_failing_worker(linear_workers: Workers) -> None:
    pids = linear_workers.pids
    execution = linear_workers.predict({"x": np.ones((5, 3), np.float32)})
    assert type(execution.error) is PredictionError
    assert "5x3 and 4x3" in str(execution.error)
    assert execution.outputs is None
    linear_workers.engine.release(execution)
    assert linear_workers.answer({"x": np.ones((1, 4), np.float32)}) == {"scores": scores(1, 1)}
    assert linear_workers.pids == pids
    assert not linear_workers.engine.restarts


def test_many_inputs_and_outputs_of_all_types_keep_names_and_types(archives: Path) -> None:
    with open_workers(archives / "mixed.pt") as workers:
        execution = workers.predict(
            {
                "numbers": np.full((2, 2), 4, np.float32),
                "indices": np.array([[1, 2, 3], [4, 5, 6]], np.int64),
                "flags": np.array([[True, False], [False, False]]),
            }
        )
        assert execution.outputs is not None
        outputs = execution.outputs
        assert {name: str(array.dtype) for name, array in outputs.items()} == {
            "sums": "float32",
            "counts": "int64",
            "inverse": "float32",
            "halves": "float16",
            "any": "bool",
        }
        assert outputs["sums"].tolist() == [14, 23]
        assert outputs["any"].tolist() == [True, False]
        assert outputs["halves"].tolist() == [[2, 2], [2, 2]]
        workers.engine.release(execution)


@pytest.mark.feature("one-queue")
def test_several_workers_compute_at_the_same_time(archives: Path) -> None:
    with open_workers(archives / "slow.pt", workers=2) as workers:
        slow = workers.begin({"rounds": np.full((1, 1), 100_000, np.int64)})
        assert workers.engine.available == 1
        for _ in range(3):
            assert workers.answer({"rounds": np.full((1, 1), 1, np.int64)}) == {"answer": [[1]]}
        assert not slow.done()
        assert [worker.state for worker in workers.engine.workers] == [State.BUSY, State.IDLE]


def test_a_batch_that_the_memory_does_not_hold_fails_alone(archives: Path) -> None:
    with open_workers(archives / "linear.pt") as workers:
        pid = workers.pids[0]
        inputs = workers.engine.allocate({"x": ((4_000_000, 4), np.dtype(np.float32))})
        # The inputs fit below the limit, and the outputs, of 48 MB, do not.
        limit = next(
            int(line.split()[1]) * 1024
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if line.startswith("VmSize")
        )
        subprocess.run(["prlimit", f"--pid={pid}", f"--as={limit + 100 * 2**20}"], check=True)
        execution = workers.predict(inputs)
        assert isinstance(execution.error, DeviceMemoryError)
        assert workers.answer({"x": np.ones((1, 4), np.float32)}) == {"scores": scores(1, 1)}
        assert workers.pids == [pid]


def test_an_archive_that_says_nothing_of_its_inputs_fails_as_it_would_in_process(archives: Path) -> None:
    workers = Workers(archives / "plain.pt")
    try:
        with pytest.raises(StartupError, match=r"save\(module, path, inputs=") as raised:
            workers.open()
        assert (raised.value.stage, raised.value.reason) == (Stage.LOAD, FailureReason.SIGNATURE_MISSING)
    finally:
        workers.close()


def test_an_artifact_that_is_not_there_fails_every_worker_with_its_reason(tmp_path: Path) -> None:
    workers = Workers(tmp_path / "nothing.pt", workers=2)
    before = children()
    try:
        with pytest.raises(StartupError, match="No such file") as raised:
            workers.open()
        assert raised.value.reason is FailureReason.MODEL_LOAD_FAILED
        assert children() == before
    finally:
        workers.close()


def test_workers_leave_signals_to_the_gateway(linear_workers: Workers) -> None:
    for pid in linear_workers.pids:
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(pid, number)
    pids = linear_workers.pids
    for _ in range(4):
        assert linear_workers.answer({"x": np.ones((1, 4), np.float32)}) == {"scores": scores(1, 1)}
    assert linear_workers.pids == pids


def test_closing_ends_idle_and_busy_workers_and_answers_what_runs(archives: Path) -> None:
    with open_workers(archives / "slow.pt", workers=2) as workers:
        pids = workers.pids
        running = workers.begin({"rounds": np.full((1, 1), 10_000_000, np.int64)})
        workers.runner.run(workers.engine.close())
        assert "SIGKILL" in str(workers.finish(running).error)
        assert not any(exists(pid) for pid in pids)
        assert workers.engine.available == 0


def test_the_gateway_maps_as_many_regions_as_it_has_slabs(linear_workers: Workers) -> None:
    before = shared_regions("self")
    for rows in (1, 2, 3) * 20:
        linear_workers.answer({"x": np.ones((rows, 4), np.float32)})
    assert shared_regions("self") <= before + 2


def test_the_gateway_needs_no_torch(archives: Path) -> None:
    script = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from tests.runtime.workers import open_workers\n"
        "with open_workers(Path(sys.argv[1])) as workers:\n"
        "    print(workers.answer({'x': np.ones((1, 4), np.float32)})['scores'])\n"
        "print('torch' in sys.modules)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script, str(archives / "linear.pt")],
        capture_output=True,
        text=True,
        cwd=root,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["[[6.5, 21.5, 38.0]]", "False"]
