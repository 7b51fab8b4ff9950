"""An engine that does what a test tells it: batches wait until they are ended, well or badly."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from slipway_runtime.batching.policy import BatchingPolicy
from slipway_runtime.batching.scheduler import Scheduler
from slipway_runtime.contract import Datatype, Format, TensorSpec
from slipway_runtime.dispatch.counts import DispatchCounts
from slipway_runtime.dispatch.dispatcher import Dispatcher
from slipway_runtime.dispatch.ticket import Ticket
from slipway_runtime.engines.engine import Execution, Layout, LoadedModel, WorkerCrashedError
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.model import PredictionError, RowsFailedError
from slipway_runtime.models.signature import Signature

POINTS = {size: (0.0001 * (10 + size),) * 3 for size in (1, 2, 4, 8, 16)}
SIGNATURE = Signature(
    (TensorSpec(name="x", datatype=Datatype.INT64, shape=[-1, -1]),),
    (TensorSpec(name="y", datatype=Datatype.INT64, shape=[-1, -1]),),
)
FACTS = LoadedModel(Format.TORCH_SCRIPT, "cpu", SIGNATURE, POINTS, bucket=((2,),), row_elements=2.0, max_batch_size=16)

CRASHED = WorkerCrashedError("signal 9")

Model = Callable[[Mapping[str, Array]], Mapping[str, Array]]


def doubled(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    return {"y": inputs["x"] * 2}


@dataclass(eq=False)
class ScriptedEngine:
    """`slots` batches at a time. What `allocate` gave is overwritten at `release`, as shared memory would be."""

    slots: int = 1
    model: Model = doubled
    alive: bool = True
    immediate: bool = False
    """Batches end before `start` returns."""
    down: int = 0
    """Slots that are restarting."""
    ahead: int = 0
    """Batches that it takes while all slots run one."""
    running: list[Execution] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    """Rows of every batch that was started."""
    allocated: int = 0
    released: int = 0
    _callback: Callable[[], None] = lambda: None

    @property
    def available(self) -> int:
        return max(0, self.slots - self.down - len(self.running)) if self.alive else 0

    @property
    def room_ahead(self) -> int:
        full = self.alive and len(self.running) >= self.slots - self.down > 0
        return max(0, self.slots - self.down + self.ahead - len(self.running)) if full else 0

    def on_available(self, callback: Callable[[], None]) -> None:
        self._callback = callback

    def allocate(self, layout: Layout) -> Mapping[str, Array]:
        self.allocated += 1
        return {name: np.full(shape, -7, dtype) for name, (shape, dtype) in layout.items()}

    def start(self, execution: Execution) -> None:
        assert self.available > 0 or self.room_ahead > 0
        self.running.append(execution)
        self.sizes.append(execution.inputs["x"].shape[0])
        if self.immediate:
            self.end(len(self.running) - 1)

    def release(self, execution: Execution) -> None:
        self.released += 1
        for array in (execution.outputs or {}).values():
            array[...] = -9

    async def close(self) -> None:
        self.alive = False

    def end(self, position: int = 0, error: PredictionError | None = None, *, dies: bool = False) -> None:
        """Ends a running batch; with `dies` its slot goes with it."""
        execution = self.running.pop(position)
        slots = self.slots - self.down
        if position < slots <= len(self.running):
            self.running[slots - 1].followed()
        if dies:
            self.down += 1
        if error is None:
            try:
                execution.outputs = {name: array.copy() for name, array in self.model(execution.inputs).items()}
            except RowsFailedError as raised:
                error, execution.outputs = raised, raised.outputs
            except PredictionError as raised:
                error = raised
        execution.error = error
        execution.compute_seconds = 0.001
        execution.done(execution)

    def come_back(self) -> None:
        self.down = 0
        self._callback()

    def ask_for_more(self) -> None:
        """A running batch is about to end."""
        self.ahead = 1
        self._callback()

    def end_all(self) -> None:
        while self.running:
            self.end()


@dataclass
class Client:
    """Submits tickets and keeps copies of what they were answered."""

    dispatcher: Dispatcher
    engine: ScriptedEngine
    counts: DispatchCounts
    answers: dict[Ticket, Array | str] = field(default_factory=dict)
    """Outputs, or the error's code."""

    def submit(self, *rows: int, width: int = 2, first: int = 0, **fields: float) -> Ticket:
        """One ticket with these row numbers; each row repeats its number."""
        values = np.repeat(np.array(rows, np.int64)[:, None], width, axis=1) + first
        ticket = Ticket({"x": values}, self._done, **fields)  # type: ignore[arg-type]
        self.dispatcher.submit(ticket)
        return ticket

    def _done(self, ticket: Ticket) -> None:
        assert ticket not in self.answers, "answered twice"
        if ticket.error is not None:
            self.answers[ticket] = ticket.error.code
        else:
            assert ticket.outputs is not None
            self.answers[ticket] = ticket.outputs["y"].copy()

    def code(self, ticket: Ticket) -> str:
        answer = self.answers[ticket]
        assert isinstance(answer, str)
        return answer

    def is_right(self, ticket: Ticket) -> bool:
        answer = self.answers[ticket]
        return not isinstance(answer, str) and np.array_equal(answer, ticket.inputs["x"] * 2)


def make_client(
    engine: ScriptedEngine | None = None,
    facts: LoadedModel = FACTS,
    policy: BatchingPolicy | None = None,
    clock: Callable[[], float] = perf_counter,
) -> Client:
    engine = engine or ScriptedEngine()
    policy = policy or BatchingPolicy(max_batch_size=16, executors=engine.slots)
    scheduler = Scheduler(policy, facts.points, facts.bucket, facts.row_elements)
    counts = DispatchCounts()
    return Client(Dispatcher(engine, facts, scheduler, counts, clock), engine, counts)


async def settle() -> None:
    """Lets everything happen that needs no time."""
    for _ in range(3):
        await asyncio.sleep(0)


async def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await scenario()

    asyncio.run(run())


def poisoned(*bad: int, error: type[PredictionError] = PredictionError) -> Callable[..., Mapping[str, Array]]:
    def model(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        if np.isin(inputs["x"], bad).any():
            raise error("index out of range")
        return doubled(inputs)

    return model
