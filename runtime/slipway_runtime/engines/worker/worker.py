"""One worker position: a process that runs batches, and the next process when it ends."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from time import monotonic
from typing import Final

from slipway_runtime.contract import FailureReason, Stage
from slipway_runtime.engines.counts import WorkerState
from slipway_runtime.engines.cudamemory import CudaMemory
from slipway_runtime.engines.engine import LoadedModel, WorkerCrashedError, WorkerHungError
from slipway_runtime.engines.worker.batch import Batch, read_outputs
from slipway_runtime.engines.worker.exits import count_oom_kills, explain_exit
from slipway_runtime.engines.worker.facts import decode_model
from slipway_runtime.engines.worker.faults import decode_fault
from slipway_runtime.engines.worker.line import Line
from slipway_runtime.engines.worker.process import WorkerProcess, resident_bytes
from slipway_runtime.engines.worker.region import PlaceError
from slipway_runtime.engines.worker.restarts import Cause, Restarts
from slipway_runtime.engines.worker.slabs import Slab, SlabPool
from slipway_runtime.engines.worker.wire import (
    BrokenMessageError,
    Close,
    Done,
    Failed,
    Forget,
    Load,
    Loaded,
    Message,
    Need,
    Progress,
    Room,
    Run,
)
from slipway_runtime.failure import StartupError
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.model import PredictionError

_LEAST_START_SECONDS: Final = 60.0
_START_PATIENCE: Final = 5.0
"""Times as long as the first start took, a start may take before it counts as a hang."""

log = logging.getLogger(__name__)


class State(StrEnum):
    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    BACKING_OFF = "backing_off"
    """It ended and is started again after a while."""
    CLOSED = "closed"


@dataclass(frozen=True)
class Callbacks:
    """What the engine wants to know of a worker. In the loop's thread."""

    enter: Callable[[Stage], None]
    """The first start has come to this stage."""
    free: Callable[[], None]
    """It can run a batch again after a restart, or take the next one while the last is about to end."""
    finished: Callable[[Worker, Batch, Mapping[str, Array] | None, PredictionError | None], None]
    """The batch came to its end. The worker is free for another, or was lost and is to be started again."""
    ended: Callable[[Sequence[Batch]], None]
    """The process ended before it had begun these; another can run them."""


class Worker:
    def __init__(
        self,
        number: int,
        loop: asyncio.AbstractEventLoop,
        pool: SlabPool,
        variables: Mapping[str, str],
        callbacks: Callbacks,
    ) -> None:
        self.number = number
        self.state = State.BACKING_OFF
        self.restarts: Counter[Cause] = Counter()
        self.batches = 0
        self.compute_seconds = 0.0
        self.cuda: CudaMemory | None = None
        """As its process told last."""
        self.last_end = ""
        """How its process ended last, in words."""
        self._loop = loop
        self._pool = pool
        self._variables = variables
        self._callbacks = callbacks
        self._history = Restarts()
        self._load: Load | None = None
        self._process: WorkerProcess | None = None
        self._first: asyncio.Future[LoadedModel | None] = loop.create_future()
        self._stage = Stage.LOAD
        self._start_limit_seconds: float | None = None
        self._began = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._oom_kills = 0
        self._end: tuple[Cause, str] | None = None
        """Why this process is being killed, when the gateway does it."""
        self._known: set[int] = set()
        self._line = Line(loop, self._hung, callbacks.free)
        self._ended = asyncio.Event()

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process else None

    @property
    def failing(self) -> bool:
        """It ends again and again, and cannot run a batch now."""
        return self.state not in (State.IDLE, State.BUSY) and self._history.looping(monotonic())

    def look(self) -> WorkerState:
        """For metrics; from any thread."""
        pid = self.pid
        return WorkerState(
            self.number,
            self.state,
            self.batches,
            self.compute_seconds,
            {str(cause): self.restarts[cause] for cause in Cause},
            resident_bytes(pid) if pid else 0,
            self.cuda if pid else None,
        )

    async def start(self, load: Load) -> LoadedModel | None:
        """The first start; raises `StartupError`. Returns what was measured, if it was to be. Later starts do not."""
        self._spawn(load)
        return await self._first

    @property
    def free(self) -> bool:
        return self.state is State.IDLE and self._end is None

    @property
    def room_ahead(self) -> bool:
        """It computes a batch that is about to end, and has no other."""
        return self._line.open and self._end is None

    def run(self, batch: Batch) -> None:
        """Only while free or while there is room ahead."""
        assert self._process is not None
        regions, descriptors = self._introduce(batch.inputs, batch.outputs)
        run = Run(
            batch.sequence,
            batch.inputs.identity,
            batch.places,
            batch.outputs.identity,
            batch.execution.limit_seconds,
            regions,
        )
        self.state = State.BUSY
        self._process.send(run, descriptors)
        self._line.add(batch)

    def forget(self, identities: frozenset[int]) -> None:
        """These slabs are no more."""
        stale = identities & self._known
        if stale and self._process and self.state in (State.IDLE, State.BUSY):
            self._process.send(Forget(sorted(stale)))
            self._known -= stale

    async def close(self, seconds: float) -> None:
        """The process runs its teardown and is killed when that takes longer."""
        previous, self.state = self.state, State.CLOSED
        self._first.cancel()
        self._cancel_timer()
        if self._process:
            await self._end_process(self._process, previous, seconds)
        self._line.close()

    async def _end_process(self, process: WorkerProcess, previous: State, seconds: float) -> None:
        if previous is State.IDLE:
            process.send(Close())
            try:
                await asyncio.wait_for(self._ended.wait(), seconds)
            except TimeoutError:
                log.warning("Worker %d did not end within %.1f s of its teardown and is killed", self.number, seconds)
        process.kill()
        await self._ended.wait()

    def _spawn(self, load: Load) -> None:
        self._load = load
        self.state = State.STARTING
        self._stage = Stage.LOAD
        self._end = self.cuda = None
        self._known.clear()
        self._ended.clear()
        self._oom_kills = count_oom_kills()
        self._began = monotonic()
        try:
            self._process = WorkerProcess(self._loop, self._variables, self._on_message, self._on_broken, self._on_end)
        except OSError as error:
            self._conclude(Cause.START, f"cannot be started: {error.strerror}")
            return
        self._process.send(load)
        if self._start_limit_seconds is not None:
            self._timer = self._loop.call_later(self._start_limit_seconds, self._start_hung)

    def _on_message(self, message: Message) -> None:
        try:
            then = self._understand(message)
        except (BrokenMessageError, PlaceError, ValueError, TypeError) as error:
            self._on_broken(str(error))
        else:
            then()

    def _understand(self, message: Message) -> Callable[[], None]:
        """What follows from it. Raises on what no worker in this state says."""
        batch = self._line.head
        match message:
            case Done() if batch and message.sequence == batch.sequence:
                outputs = read_outputs(batch, message)
                error = decode_fault(message.fault, outputs) if message.fault is not None else None
                if message.cuda is not None:
                    allocated, reserved = message.cuda
                    self.cuda = CudaMemory(int(allocated), int(reserved))
                batch.returned, batch.kept = True, bool(message.kept)
                return partial(self._finish, batch, outputs or None, error, float(message.compute_seconds))
            case Need() if batch and message.sequence == batch.sequence:
                return partial(self._make_room, batch, int(message.size_bytes))
            case Progress():
                return partial(self._enter, Stage(message.stage))
            case Loaded() if self.state is State.STARTING:
                return partial(self._loaded, decode_model(message.model) if message.model else None)
            case Failed() if self.state is State.STARTING:
                failure = StartupError(Stage(message.stage), FailureReason(message.reason), str(message.message))
                return partial(self._failed, failure)
        raise BrokenMessageError(f"{type(message).__name__} while it was {self.state}")

    def _enter(self, stage: Stage) -> None:
        self._stage = stage
        if not self._first.done():
            self._callbacks.enter(stage)

    def _loaded(self, model: LoadedModel | None) -> None:
        self._cancel_timer()
        seconds = monotonic() - self._began
        if self._start_limit_seconds is None:
            self._start_limit_seconds = max(_LEAST_START_SECONDS, _START_PATIENCE * seconds)
        self.state = State.IDLE
        if model and self._load:
            self._load = replace(self._load, profile=False, variant=model.properties.get("variant"))
        if not self._first.done():
            self._first.set_result(model)
            return
        self._history.record_start(seconds)
        log.info("Worker %d is back after %.2f s", self.number, seconds, extra={"pid": self.pid})
        self._callbacks.free()

    def _failed(self, error: StartupError) -> None:
        self._stop(Cause.START, f"cannot load the model ({error.reason}): {error.message}")
        if not self._first.done():
            self._first.set_exception(error)

    def _finish(
        self, batch: Batch, outputs: Mapping[str, Array] | None, error: PredictionError | None, seconds: float
    ) -> None:
        self._line.finish()
        if self.state is State.BUSY and not len(self._line):
            self.state = State.IDLE
        self.batches += 1
        self.compute_seconds += seconds
        self._history.record_success()
        batch.execution.compute_seconds = seconds
        self._callbacks.finished(self, batch, outputs, error)

    def _make_room(self, batch: Batch, size_bytes: int) -> None:
        assert self._process is not None
        try:
            larger = self._pool.take(size_bytes)
        except (MemoryError, OverflowError) as error:
            # The worker waits for room that there is none of; its batch is over, and so is it.
            self._stop(Cause.OUT_OF_MEMORY, f"gave outputs of {size_bytes} bytes, for which there is no memory")
            log.warning("No memory for %d bytes of outputs: %s", size_bytes, error)
            return
        self._pool.give(batch.outputs)
        batch.outputs = larger
        regions, descriptors = self._introduce(larger)
        self._process.send(Room(larger.identity, regions), descriptors)

    def _introduce(self, *slabs: Slab) -> tuple[list[tuple[int, int]], list[int]]:
        new = {slab.identity: slab for slab in slabs if slab.identity not in self._known}
        self._known |= new.keys()
        return [(slab.identity, slab.size_bytes) for slab in new.values()], [slab.fd for slab in new.values()]

    def _hung(self, batch: Batch) -> None:
        # Its answer may lie there unread, when it was this process that had no time.
        if self._process:
            self._process.receive()
        if self._line.head is batch:
            self._stop(Cause.HANG, f"took longer than {batch.execution.limit_seconds:g} s for one batch")

    def _start_hung(self) -> None:
        self._stop(Cause.HANG, f"was not ready {self._start_limit_seconds:.0f} s after its start")

    def _on_broken(self, what: str) -> None:
        self._stop(Cause.PROTOCOL, f"sent what cannot be understood ({what})")

    def _stop(self, cause: Cause, how: str) -> None:
        """Kills the process; the rest follows when it has ended, because until then it may write."""
        if self._end is None:
            self._end = (cause, how)
        if self._process:
            self._process.kill()

    def _on_end(self, code: int) -> None:
        self._process = None
        self._ended.set()
        cause, how = self._end or explain_exit(code, count_oom_kills() - self._oom_kills)
        self._conclude(cause, how)

    def _conclude(self, cause: Cause, how: str) -> None:
        self._cancel_timer()
        left = self._line.clear()
        if self.state is not State.CLOSED:
            self.last_end = f"The worker {how}"
            self._plan_restart(cause, how)
        self._callbacks.ended(left[1:])
        for batch in left[:1]:
            self._callbacks.finished(self, batch, None, _as_error(cause, how))

    def _plan_restart(self, cause: Cause, how: str) -> None:
        if self.state is State.STARTING:
            self._history.record_start(monotonic() - self._began)
        self.state = State.BACKING_OFF
        if not self._first.done():
            reason = FailureReason.OUT_OF_MEMORY if cause is Cause.OUT_OF_MEMORY else FailureReason.WORKER_CRASHED
            text = f"The process that runs the model {how} while the model was loaded and warmed up."
            self._first.set_exception(StartupError(self._stage, reason, text))
        if self._first.cancelled() or self._first.exception():
            return  # the whole start failed; nothing to come back to
        self.restarts[cause] += 1
        delay = self._history.record_end(monotonic())
        assert self._load is not None
        self._timer = self._loop.call_later(delay, self._spawn, self._load)
        log.error("Worker %d %s; it is started again in %.1f s", self.number, how, delay, extra={"cause": cause})

    def _cancel_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None


def _as_error(cause: Cause, how: str) -> PredictionError:
    if cause is Cause.HANG:
        return WorkerHungError(f"The worker {how} and was killed.")
    return WorkerCrashedError(f"The worker {how}.")
