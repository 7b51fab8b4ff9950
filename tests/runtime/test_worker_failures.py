"""Workers that are killed, hang, or cannot come back; and a gateway that is killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from slipway_runtime.contract import ArtifactConfig, FailureReason, Format, RuntimeConfig
from slipway_runtime.engines.engine import Execution, WorkerCrashedError, WorkerHungError
from slipway_runtime.engines.worker import process, restarts
from slipway_runtime.engines.worker.restarts import Cause
from slipway_runtime.engines.worker.wire import Channel, Load
from slipway_runtime.engines.worker.worker import State
from slipway_runtime.failure import StartupError
from tests.runtime.workers import Workers, children, exists, open_descriptors, open_workers

pytestmark = pytest.mark.runtime

FOREVER = {"rounds": np.full((1, 1), 100_000_000, np.int64)}
QUICK = {"rounds": np.full((1, 1), 1, np.int64)}
ANSWER = {"answer": [[1]]}


@pytest.fixture(scope="module")
def slow_workers(archives: Path) -> Iterator[Workers]:
    """Two workers that serve `Slow`; a test leaves them well."""
    with open_workers(archives / "slow.pt", workers=2) as workers:
        yield workers


@pytest.fixture
def quick_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarts, "BACK_OFF_SECONDS", (0.01,))


def test_a_killed_worker_loses_its_own_batch_and_comes_back(slow_workers: Workers) -> None:
    engine = slow_workers.engine
    victim, other = engine.workers
    before, survivor = victim.pid, other.pid
    lost = slow_workers.begin(FOREVER)
    assert victim.state is State.BUSY
    assert before is not None
    os.kill(before, signal.SIGKILL)
    kept = slow_workers.begin(QUICK)
    execution = slow_workers.finish(lost)
    assert isinstance(execution.error, WorkerCrashedError)
    assert "SIGKILL" in str(execution.error)
    assert execution.outputs is None
    engine.release(execution)
    assert slow_workers.finish(kept).error is None
    assert slow_workers.answer(QUICK) == ANSWER
    slow_workers.wait_until_available(2)
    assert victim.pid != before
    assert other.pid == survivor
    assert not exists(before)
    assert slow_workers.answer(QUICK) == ANSWER
    assert engine.alive


def test_an_idle_worker_that_is_killed_is_not_given_a_batch(slow_workers: Workers) -> None:
    engine = slow_workers.engine
    told: list[int] = []
    engine.on_available(lambda: told.append(engine.available))
    victim = slow_workers.pids[0]
    count = engine.restarts[Cause.CRASH]
    os.kill(victim, signal.SIGSEGV)
    slow_workers.wait_until(lambda: engine.available == 1, "one worker is gone")
    assert slow_workers.answer(QUICK) == ANSWER
    slow_workers.wait_until_available(2)
    assert told == [2]
    assert engine.restarts[Cause.CRASH] == count + 1
    assert "SIGSEGV" in engine.workers[0].last_end


@pytest.mark.feature("worker-restart")
def test_a_worker_that_hangs_is_killed_and_comes_back(slow_workers: Workers) -> None:
    engine = slow_workers.engine
    hanging = engine.workers[0].pid
    assert hanging is not None
    os.kill(hanging, signal.SIGSTOP)
    execution = slow_workers.predict(QUICK, limit_seconds=0.3)
    assert isinstance(execution.error, WorkerHungError)
    assert "0.3 s" in str(execution.error)
    assert not exists(hanging)
    engine.release(execution)
    slow_workers.wait_until_available(2)
    assert engine.restarts[Cause.HANG] == 1


def test_an_answer_that_came_in_time_is_taken_even_when_the_loop_was_late(slow_workers: Workers) -> None:
    ended = slow_workers.begin(QUICK, limit_seconds=0.3)
    # The loop does not run here, so it finds the answer and the end of the limit at the same time.
    deadline = time.monotonic() + 0.6
    while time.monotonic() < deadline:
        pass
    execution = slow_workers.finish(ended)
    assert execution.error is None
    slow_workers.engine.release(execution)


@pytest.mark.usefixtures("quick_back_off")
def test_restarts_leave_no_zombie_no_descriptor_and_no_memory_behind(archives: Path) -> None:
    with open_workers(archives / "linear.pt") as workers:
        inputs = {"x": np.ones((50_000, 4), np.float32)}
        workers.engine.release(workers.predict(inputs))
        descriptors, processes = open_descriptors(), len(children())
        memory = workers.engine.shared_memory_bytes
        for count in range(1, 5):
            ended = workers.begin(inputs)
            os.kill(workers.pids[0], signal.SIGKILL)
            workers.engine.release(workers.finish(ended))
            del ended
            workers.wait_until(lambda count=count: workers.engine.restarts[Cause.CRASH] == count, "its end is seen")
            workers.wait_until_available()
            workers.engine.release(workers.predict(inputs))
        assert len(children()) == processes
        assert open_descriptors() <= descriptors + 2
        assert workers.engine.shared_memory_bytes <= 2 * memory


@pytest.mark.usefixtures("quick_back_off")
def test_a_worker_that_cannot_come_back_ends_liveness_until_it_can(archives: Path, tmp_path: Path) -> None:
    artifact = tmp_path / "model.pt"
    artifact.write_bytes((archives / "linear.pt").read_bytes())
    with open_workers(artifact) as workers:
        engine = workers.engine
        away = artifact.rename(tmp_path / "away.pt")
        os.kill(workers.pids[0], signal.SIGKILL)
        workers.wait_until(lambda: not engine.alive, "the engine gives up")
        assert engine.available == 0
        assert engine.restarts[Cause.CRASH] == 1
        assert engine.restarts[Cause.START] >= 4
        assert engine.failure is not None
        assert "ModelLoadFailed" in engine.failure
        away.rename(artifact)
        workers.wait_until_available()
        assert engine.alive
        assert engine.failure is None
        assert workers.answer({"x": np.zeros((1, 4), np.float32)}) == {"scores": [[0.5, -0.5, 0]]}


def test_a_worker_that_is_killed_while_it_loads_fails_the_start_with_its_signal(
    archives: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killer = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setattr(process, "_command", lambda descriptor: [sys.executable, "-c", killer])
    workers = Workers(archives / "linear.pt")
    try:
        with pytest.raises(StartupError, match="SIGKILL") as raised:
            workers.open()
        assert raised.value.reason is FailureReason.WORKER_CRASHED
    finally:
        workers.close()


class Feeder:
    """Keeps an engine busy with numbered batches, also ahead, until each was answered; what was lost is asked again."""

    def __init__(self, workers: Workers, batches: int) -> None:
        self.engine = workers.engine
        self.left = deque(range(batches))
        self.answered: set[int] = set()
        self.lost = 0
        self.ahead = 0
        self.engine.on_available(self.feed)

    def feed(self) -> None:
        while self.left and (self.engine.available or self.engine.room_ahead):
            self.ahead += not self.engine.available
            number = self.left.popleft()
            inputs = self.engine.allocate({"rounds": ((2, 1), np.dtype(np.int64))})
            inputs["rounds"][...] = 1 + number % 8
            self.engine.start(Execution(inputs, partial(self.end, number), expected_seconds=0.003))

    def end(self, number: int, execution: Execution) -> None:
        assert number not in self.answered, "ended twice"
        self.feed()
        if execution.error is not None:
            assert isinstance(execution.error, WorkerCrashedError)
            self.lost += 1
            self.left.append(number)
        else:
            assert execution.outputs is not None
            assert execution.outputs["answer"].tolist() == [[1 + number % 8]] * 2
            self.answered.add(number)
        self.engine.release(execution)


@pytest.mark.usefixtures("quick_back_off")
def test_every_batch_ends_once_and_right_whoever_is_killed_meanwhile(archives: Path) -> None:
    with open_workers(archives / "slow.pt", workers=2) as workers:
        feeder = Feeder(workers, batches=400)

        def reached(count: int) -> bool:
            feeder.feed()
            return len(feeder.answered) >= count

        for kill in range(4):
            workers.wait_until(partial(reached, 80 * (kill + 1)), "batches go on")
            os.kill(workers.pids[kill % len(workers.pids)], signal.SIGKILL)
        workers.wait_until(partial(reached, 400), "all are answered")
        assert feeder.ahead > 0
        assert workers.engine.restarts[Cause.CRASH] >= 1


BROKEN = {
    "no message": "end.send(b'\\x09\\xff')",
    "another batch's answer": "end.send(b'\\x07' + json.dumps({'sequence': 10**9, 'compute_seconds': 0}).encode())",
    "outputs outside their memory": (
        "end.send(b'\\x07' + json.dumps({'sequence': run['sequence'], 'compute_seconds': 0,"
        " 'places': [['y', '<f4', [10**6], 0, 4 * 10**6]]}).encode())"
    ),
    "a shape that lies about its bytes": (
        "end.send(b'\\x07' + json.dumps({'sequence': run['sequence'], 'compute_seconds': 0,"
        " 'places': [['y', '<f4', [2], 0, 4]]}).encode())"
    ),
    "places that are none": (
        "end.send(b'\\x07' + json.dumps({'sequence': run['sequence'], 'compute_seconds': 0,"
        " 'places': [['y', '<f4', 'abc', None, {}]]}).encode())"
    ),
    "no more of itself": "end.close()\ntime.sleep(60)",
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_worker_that_speaks_nonsense_is_killed_and_its_batch_fails(
    archives: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """No model can make the real worker do this."""
    real = process._command
    with open_workers(archives / "linear.pt") as workers:
        program = (
            "import json, socket, sys, time\n"
            "end = socket.socket(fileno=int(sys.argv[1]))\n"
            "end.recv(65536)\n"
            "end.send(b'\\x02' + json.dumps({'model': None}).encode())\n"
            "run = json.loads(end.recv(65536)[1:])\n" + BROKEN[what] + "\n"
            "time.sleep(60)\n"
        )
        monkeypatch.setattr(process, "_command", lambda descriptor: [sys.executable, "-c", program, str(descriptor)])
        os.kill(workers.pids[0], signal.SIGKILL)
        workers.wait_until(lambda: bool(workers.engine.restarts), "the real worker's end is seen")
        workers.wait_until_available()
        monkeypatch.setattr(process, "_command", real)
        imposter = workers.pids[0]
        execution = workers.predict({"x": np.ones((1, 4), np.float32)})
        assert isinstance(execution.error, WorkerCrashedError)
        assert execution.outputs is None
        assert not exists(imposter)
        workers.wait_until_available()
        assert workers.answer({"x": np.zeros((1, 4), np.float32)}) == {"scores": [[0.5, -0.5, 0]]}


GATEWAY = """
import sys, time
from pathlib import Path
import numpy as np
from tests.runtime.workers import open_workers
with open_workers(Path(sys.argv[1])) as workers:
    print(workers.pids[0], flush=True)
    workers.begin({"rounds": np.full((1, 1), int(sys.argv[2]), np.int64)})
    print("begun", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("rounds", [1, 100_000_000], ids=["idle", "busy"])
def test_a_worker_does_not_outlive_a_killed_gateway(archives: Path, rounds: int) -> None:
    gateway = subprocess.Popen(
        [sys.executable, "-c", GATEWAY, str(archives / "slow.pt"), str(rounds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert gateway.stdout is not None
    try:
        worker = 0
        for line in gateway.stdout:
            if line.strip().isdecimal():
                worker = int(line)
            if line.strip() == "begun":
                break
        assert exists(worker)
    finally:
        gateway.kill()
        gateway.wait()
        gateway.stdout.close()
    deadline = time.monotonic() + 10
    while runs(worker):
        assert time.monotonic() < deadline, "the worker goes on without its gateway"
        time.sleep(0.01)


def test_a_worker_whose_gateway_ended_before_it_looked_does_not_begin_to_load(tmp_path: Path) -> None:
    code = tmp_path / "handler.py"
    code.write_text("import time\ntime.sleep(600)\n")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    config = RuntimeConfig(name="m", artifact=ArtifactConfig(uri=f"file://{code}", format=Format.PYTHON))
    Channel(ours).send(Load(str(code), config.model_dump(mode="json"), profile=True))
    ours.close()
    command = [sys.executable, "-m", "slipway_runtime.engines.worker", "--descriptor", str(theirs.fileno())]
    worker = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    theirs.close()
    try:
        assert worker.wait(90) == 0
    finally:
        worker.kill()
        worker.wait()


def runs(pid: int) -> bool:
    """A zombie of a parent that is not ours does not run."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
