"""What the dispatcher needs of whatever runs the model: memory to write a batch into, and a call when it is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from slipway_runtime.contract import Format
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.model import PredictionError
from slipway_runtime.models.signature import Signature


class WorkerCrashedError(PredictionError):
    """The process that ran the batch ended before it answered. The message has its signal or exit code."""


class WorkerHungError(PredictionError):
    """The batch took longer than it was allowed and its process was killed."""


@dataclass(frozen=True)
class LoadedModel:
    """What the start of an engine found out."""

    format: Format
    device: str
    """`cpu` or `cuda`."""
    signature: Signature
    """Complete: with outputs."""
    points: Mapping[int, Sequence[float]]
    """Seconds of single runs per batch size: what the scheduler is seeded with. {1: …} for a model without batches."""
    row_elements: float = 1.0
    """Elements of one row as it was measured, all inputs together."""
    bucket: tuple[tuple[int, ...], ...] = ()
    """Shapes of one measured row, in the order of the signature's inputs, without the batch."""
    max_batch_size: int = 1
    """The largest size that paid, or the configured one."""
    ceiling: int = 1
    """What the largest batch may grow to while serving."""
    row_wise: bool = True
    """Every row of the inputs gives one row of every output. Only then do requests share batches."""
    steady: bool = True
    """The time of a batch hangs on its size alone. False where the model's code loops or is not known."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """For the model's metadata: what the tuner chose and why, threads, workers."""


def _nothing() -> None:
    """Nobody wants to know."""


Layout = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]
"""Name to whole shape (rows first) and element type."""


@dataclass(slots=True, eq=False)
class Execution:
    """One batch on its way through an engine. `inputs` came from `Engine.allocate`, or are the request's own arrays
    when the batch is one request."""

    inputs: Mapping[str, Array]
    done: Callable[[Execution], None]
    """Called exactly once, in the loop's thread, after `outputs` or `error` is set."""
    limit_seconds: float = 60.0
    """Longer than this is a hang."""
    expected_seconds: float = 0.0
    """How long it is expected to take; 0 when nothing is. An engine may ask for the next batch shortly before."""
    followed: Callable[[], None] = _nothing
    """Called in the loop's thread when the batch ended that this one lay in the engine behind."""
    outputs: Mapping[str, Array] | None = None
    """Borrowed until `Engine.release`."""
    error: PredictionError | None = None
    compute_seconds: float = 0.0
    """Of the model alone."""
    ended_at: float = 0.0
    """By the dispatcher's clock, when it heard of the end; the answers are written after that."""
    worker: str = ""
    """Which worker process computed it, by its number; empty where the gateway did."""
    handle: Any = None
    """The engine's own."""


class Engine(Protocol):
    """Used from the event loop's thread; nothing here blocks."""

    @property
    def slots(self) -> int:
        """Batches that run at the same time when all is well."""

    @property
    def available(self) -> int:
        """Slots that could take a batch now; less than `slots` while batches run or a worker restarts."""

    @property
    def room_ahead(self) -> int:
        """Batches that may be started although no slot is free: each waits in the engine for a batch that is about
        to end, so that the model goes on without a pause."""

    @property
    def alive(self) -> bool:
        """False when nothing can run and nothing is expected to come back: liveness fails."""

    @property
    def failure(self) -> str | None:
        """Why it is not alive, in words."""

    @property
    def immediate(self) -> bool:
        """Whether `start` would end the batch before it returns, with nothing else to run or to wait for."""

    def on_available(self, callback: Callable[[], None]) -> None:
        """`callback` is called in the loop's thread whenever a slot came back by other means than `done`, and when
        there is room ahead."""

    def allocate(self, layout: Layout) -> Mapping[str, Array]:
        """Arrays to write the rows of one batch into; uninitialised. One allocation per `start`."""

    def start(self, execution: Execution) -> None:
        """Runs the batch. `done` may be called before this returns. Only while `available` or
        `room_ahead` is more than 0."""

    def release(self, execution: Execution) -> None:
        """The outputs were read; their memory may be used again."""

    async def close(self) -> None:
        """Ends workers; runs the model's own teardown where it has one."""
