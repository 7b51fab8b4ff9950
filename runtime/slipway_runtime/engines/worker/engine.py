"""The engine of workers: one shared pool of memory, batches to whichever worker is idle."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from slipway_runtime.contract import RuntimeConfig, Stage
from slipway_runtime.engines.choice import EngineChoice
from slipway_runtime.engines.counts import EngineState
from slipway_runtime.engines.engine import Execution, Layout, LoadedModel, WorkerCrashedError
from slipway_runtime.engines.worker.batch import Batch, OutputSizes, allocate, make_batch, rows_of
from slipway_runtime.engines.worker.region import align
from slipway_runtime.engines.worker.restarts import Cause
from slipway_runtime.engines.worker.slabs import Slab, SlabPool
from slipway_runtime.engines.worker.wire import Load
from slipway_runtime.engines.worker.worker import Callbacks, State, Worker
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.model import DeviceMemoryError, PredictionError

TEARDOWN_SECONDS: Final = 2.0
_SWEEP_SECONDS: Final = 10.0

log = logging.getLogger(__name__)


def _ignore(stage: Stage) -> None:
    pass


class WorkerEngine:
    """See `Engine`. Made by `open`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, choice: EngineChoice, enter: Callable[[Stage], None]) -> None:
        self._loop = loop
        self._pool = SlabPool()
        self._sizes = OutputSizes()
        self._notify: Callable[[], None] = lambda: None
        self.workers: Final = tuple(
            Worker(
                number,
                loop,
                self._pool,
                choice.variables(number),
                # The start is as far as its first worker: the others begin when that one is ready.
                Callbacks(_ignore if number else enter, self._free, self._finished, self._ended),
            )
            for number in range(choice.workers)
        )
        self._returned: deque[Batch] = deque()
        self._sweeper: asyncio.TimerHandle | None = None

    @classmethod
    async def open(
        cls, path: Path, config: RuntimeConfig, choice: EngineChoice, enter: Callable[[Stage], None]
    ) -> tuple[WorkerEngine, LoadedModel]:
        """Starts the workers: the first one measures, alone, then the others load. Raises `StartupError`."""
        engine = cls(asyncio.get_running_loop(), choice, enter)
        content = config.model_dump(mode="json")
        first, *others = engine.workers
        try:
            model = await first.start(Load(str(path), content, profile=True))
            assert model is not None
            again = Load(str(path), content, profile=False, variant=model.properties.get("variant"))
            await asyncio.gather(*(worker.start(again) for worker in others))
        except BaseException:
            await engine.close()
            raise
        engine._sweep()
        return engine, model

    @property
    def slots(self) -> int:
        return len(self.workers)

    @property
    def available(self) -> int:
        return sum(worker.free for worker in self.workers)

    @property
    def immediate(self) -> bool:
        return False

    @property
    def room_ahead(self) -> int:
        return sum(worker.room_ahead for worker in self.workers)

    @property
    def alive(self) -> bool:
        return not all(worker.failing for worker in self.workers)

    @property
    def failure(self) -> str | None:
        """Why it is not alive, in words."""
        return None if self.alive else self.workers[0].last_end

    @property
    def shared_memory_bytes(self) -> int:
        return self._pool.size_bytes

    @property
    def restarts(self) -> Counter[Cause]:
        return sum((worker.restarts for worker in self.workers), Counter())

    def look(self) -> EngineState:
        """For metrics; from any thread."""
        return EngineState(
            states=tuple(State),
            causes=tuple(Cause),
            workers=[worker.look() for worker in self.workers],
            shared_memory_bytes=self._pool.size_bytes,
        )

    def on_available(self, callback: Callable[[], None]) -> None:
        self._notify = callback

    def allocate(self, layout: Layout) -> Mapping[str, Array]:
        return allocate(self._pool, layout)

    def start(self, execution: Execution) -> None:
        try:
            batch = make_batch(self._pool, self._sizes, execution)
        except MemoryError as error:
            execution.error = DeviceMemoryError(str(error))
            execution.done(execution)
            return
        self._next_worker().run(batch)

    def release(self, execution: Execution) -> None:
        slab = execution.handle
        if isinstance(slab, Slab):
            execution.handle = None
            execution.outputs = None
            self._pool.give(slab)

    async def close(self) -> None:
        if self._sweeper:
            self._sweeper.cancel()
        await asyncio.gather(*(worker.close(TEARDOWN_SECONDS) for worker in self.workers))
        self._drop_returned("The runtime ends.")

    def _next_worker(self) -> Worker:
        for worker in self.workers:
            if worker.free:
                return worker
        return next(worker for worker in self.workers if worker.room_ahead)

    def _free(self) -> None:
        self._run_returned()
        self._notify()

    def _ended(self, batches: Sequence[Batch]) -> None:
        """They go before whatever is started from now on; when nothing can run them any more, they fail."""
        self._returned.extend(batches)
        self._run_returned()

    def _run_returned(self) -> None:
        while self._returned and self.available:
            self._next_worker().run(self._returned.popleft())
        if not self.alive:
            self._drop_returned("Nothing is left that could run the batch.")

    def _drop_returned(self, why: str) -> None:
        while self._returned:
            batch = self._returned.popleft()
            batch.execution.error = WorkerCrashedError(why)
            batch.execution.done(batch.execution)

    def _finished(
        self, worker: Worker, batch: Batch, outputs: Mapping[str, Array] | None, error: PredictionError | None
    ) -> None:
        execution = batch.execution
        execution.outputs, execution.error = outputs, error
        execution.worker = str(worker.number)
        if outputs is not None:
            execution.handle = batch.outputs
            used = sum(align(array.nbytes) for array in outputs.values())
            self._sizes.learn(rows_of(execution.inputs), used)
        elif batch.returned:
            self._pool.give(batch.outputs)
        if batch.returned and not batch.kept:
            # Another try writes its inputs anew.
            self._pool.give(batch.inputs)
        self._run_returned()
        execution.done(execution)

    def _sweep(self) -> None:
        self._pool.sweep()
        gone = frozenset(self._pool.forgotten())
        if gone:
            for worker in self.workers:
                worker.forget(gone)
        self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep)
