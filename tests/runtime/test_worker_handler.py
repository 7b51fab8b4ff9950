"""Code of a user in a worker: whatever it does to its process, the gateway goes on and says what happened."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from slipway_runtime.contract import ArtifactConfig, BatchingConfig, BatchingMode, Format
from slipway_runtime.engines.engine import Execution, WorkerCrashedError
from slipway_runtime.models.model import DeviceMemoryError, PredictionError, RowError, RowsFailedError
from tests.runtime.workers import Workers, exists, open_workers

pytestmark = pytest.mark.runtime

HANDLER = """
    import ctypes, os, resource, subprocess
    import numpy as np

    class Handler:
        def setup(self, ctx):
            self.folder = ctx.model_dir
            self.helper = subprocess.Popen(["sleep", "600"])
            (self.folder / "helper").write_text(str(self.helper.pid))

        def signature(self):
            return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
                    "outputs": [{"name": "upper", "datatype": "BYTES", "shape": [-1]},
                                {"name": "length", "datatype": "INT32", "shape": [-1]}]}

        def preprocess(self, item, ctx):
            if item["text"] == b"bad":
                raise ValueError("a bad word")
            return item

        def predict(self, batch, ctx):
            for word in batch["text"]:
                if word == b"exit":
                    os._exit(7)
                if word == b"segfault":
                    ctypes.string_at(0)
                if word == b"memory":
                    resource.setrlimit(resource.RLIMIT_AS, (2**30, -1))
                    bytearray(2**40)
                if word == b"interrupt":
                    raise KeyboardInterrupt
            return {"upper": np.array([word.upper() for word in batch["text"]], object),
                    "length": np.array([len(word) for word in batch["text"]], np.int32)}

        def teardown(self):
            self.helper.kill()
            (self.folder / "gone").write_text("well")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("handler")


@pytest.fixture(scope="module")
def handler(folder: Path) -> Iterator[Workers]:
    path = folder / "handler.py"
    path.write_text(textwrap.dedent(HANDLER))
    artifact = ArtifactConfig(uri=f"file://{path}", format=Format.PYTHON)
    with open_workers(path, artifact=artifact, batching=BatchingConfig(mode=BatchingMode.DISABLED)) as workers:
        yield workers
    assert (folder / "gone").read_text() == "well", "the teardown ran"


def ask(workers: Workers, *words: bytes) -> Execution:
    array = np.empty(len(words), np.object_)
    array[:] = words
    return workers.predict({"text": array})


def test_bytes_of_any_length_come_back_whole(handler: Workers) -> None:
    words = (b"ab", b"", bytes(range(97, 123)) * 10_000)
    execution = ask(handler, *words)
    assert execution.error is None
    assert execution.outputs is not None
    assert execution.outputs["upper"].tolist() == [word.upper() for word in words]
    assert execution.outputs["length"].tolist() == [2, 0, 260_000]
    handler.engine.release(execution)


def test_a_bad_row_fails_alone_with_its_own_words(handler: Workers) -> None:
    execution = ask(handler, b"good", b"bad", b"fine")
    assert isinstance(execution.error, RowsFailedError)
    assert execution.error.rows == {1: RowError(400, "handler_rejected", "a bad word")}
    assert execution.outputs is not None
    assert execution.outputs["upper"][[0, 2]].tolist() == [b"GOOD", b"FINE"]
    handler.engine.release(execution)


@pytest.mark.parametrize(("word", "told"), [(b"exit", "exit code 7"), (b"segfault", "SIGSEGV")])
def test_code_that_ends_its_process_is_named_by_how_it_ended(
    handler: Workers, folder: Path, word: bytes, told: str
) -> None:
    helper = int((folder / "helper").read_text())
    execution = ask(handler, b"innocent", word)
    assert isinstance(execution.error, WorkerCrashedError)
    assert told in str(execution.error)
    assert "Traceback" not in str(execution.error)
    handler.wait_until(lambda: not runs(helper), "what it had started has ended with it")
    handler.wait_until_available()
    assert int((folder / "helper").read_text()) != helper
    answered = ask(handler, b"innocent")
    assert answered.error is None
    handler.engine.release(answered)


def test_code_that_wants_too_much_memory_fails_alone(handler: Workers) -> None:
    pid = handler.pids[0]
    execution = ask(handler, b"memory")
    assert isinstance(execution.error, DeviceMemoryError)
    assert handler.pids == [pid]


def test_code_that_interrupts_fails_alone(handler: Workers) -> None:
    execution = ask(handler, b"interrupt")
    assert isinstance(execution.error, PredictionError)
    handler.wait_until_available()
    answered = ask(handler, b"a")
    assert answered.error is None
    handler.engine.release(answered)


def runs(pid: int) -> bool:
    return exists(pid) and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
