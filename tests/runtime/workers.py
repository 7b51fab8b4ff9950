"""An engine of real worker processes in an event loop of its own, and what to ask of the operating system."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import uvloop

from slipway_runtime.contract import ArtifactConfig, EngineKind, RuntimeConfig, Stage, TuningConfig
from slipway_runtime.engines.choice import EngineChoice
from slipway_runtime.engines.engine import Execution, LoadedModel
from slipway_runtime.engines.worker.engine import WorkerEngine

WAIT_SECONDS: Final = 90.0

Arrays = Mapping[str, np.ndarray[Any, Any]]


class Workers:
    """Everything is called from the test's thread; the loop runs only within these calls."""

    def __init__(self, archive: Path, workers: int = 1, **config: Any) -> None:
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.stages: list[Stage] = []
        self.archive = archive
        wanted = {
            "name": "model",
            "artifact": ArtifactConfig(uri=f"file://{archive}"),
            "tuning": TuningConfig(enabled=False),
            **config,
        }
        self.config = RuntimeConfig(**wanted)
        self.choice = EngineChoice(EngineKind.WORKER, workers, threads=1, reason="the test says so.")
        self.engine: WorkerEngine
        self.model: LoadedModel

    def open(self) -> Workers:
        self.engine, self.model = self.runner.run(
            WorkerEngine.open(self.archive, self.config, self.choice, self.stages.append)
        )
        return self

    def begin(self, inputs: Arrays, limit_seconds: float = 60.0) -> asyncio.Future[Execution]:
        """Starts a batch that goes on whenever the loop runs."""
        loop = self.runner.get_loop()
        ended: asyncio.Future[Execution] = loop.create_future()

        async def start() -> None:
            self.engine.start(Execution(inputs, ended.set_result, limit_seconds))

        self.runner.run(start())
        return ended

    def finish(self, ended: asyncio.Future[Execution]) -> Execution:
        async def wait() -> Execution:
            return await asyncio.wait_for(asyncio.shield(ended), WAIT_SECONDS)

        return self.runner.run(wait())

    def predict(self, inputs: Arrays, limit_seconds: float = 60.0) -> Execution:
        return self.finish(self.begin(inputs, limit_seconds))

    def answer(self, inputs: Arrays) -> dict[str, Any]:
        """The outputs as lists; an error of the model is an error of the test."""
        execution = self.predict(inputs)
        assert execution.error is None, execution.error
        assert execution.outputs is not None
        outputs = {name: array.tolist() for name, array in execution.outputs.items()}
        self.engine.release(execution)
        return outputs

    def wait_until(self, holds: Callable[[], bool], what: str) -> None:
        async def wait() -> None:
            deadline = time.monotonic() + WAIT_SECONDS
            while not holds():
                assert time.monotonic() < deadline, f"{what} did not come true"
                await asyncio.sleep(0.01)

        self.runner.run(wait())

    def wait_until_available(self, slots: int = 1) -> None:
        self.wait_until(lambda: self.engine.available == slots, f"available == {slots}")

    @property
    def pids(self) -> list[int]:
        return [worker.pid for worker in self.engine.workers if worker.pid is not None]

    def close(self) -> None:
        if hasattr(self, "engine"):
            self.runner.run(self.engine.close())
        self.runner.close()


@contextmanager
def open_workers(archive: Path, workers: int = 1, **config: Any) -> Iterator[Workers]:
    opened = Workers(archive, workers, **config)
    try:
        yield opened.open()
    finally:
        opened.close()


def exists(pid: int) -> bool:
    """A zombie exists as well."""
    return Path(f"/proc/{pid}").exists()


def open_descriptors(pid: int | str = "self") -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def children(pid: int | None = None) -> list[int]:
    """Zombies among them."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended meanwhile
            if int(after_name[1]) == (pid or os.getpid()):
                found.append(int(entry.name))
    return found


def shared_regions(pid: int | str) -> int:
    """Mapped regions of batches."""
    return sum("memfd:slipway" in line for line in Path(f"/proc/{pid}/maps").read_text().splitlines())
