"""The model in the gateway's own process: for small ones, where a hand-over costs more than their work.

A model that is always faster than `INLINE_SECONDS` runs in the event loop itself. Others run in one thread: while they
compute, torch lets the loop go on. A thread cannot be ended from outside, so a model that may hang belongs in a worker.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter, thread_time
from typing import Final

import numpy as np

from slipway_runtime.engines.engine import Execution, Layout, LoadedModel, WorkerHungError
from slipway_runtime.engines.loading import Loaded
from slipway_runtime.engines.modelthread import ModelThread
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.model import DeviceMemoryError, Model, PredictionError, RowsFailedError

INLINE_SECONDS: Final = 0.001
_BLOCKED_SECONDS: Final = 0.02
"""A run in the loop that computes this long shows that the next should not be there."""
_CLOSE_SECONDS: Final = 2.0

Answer = tuple[Mapping[str, Array] | None, PredictionError | None]

log = logging.getLogger(__name__)


def runs_inline(facts: LoadedModel) -> bool:
    """Whether the loop can run the model itself, whatever it is asked."""
    return facts.steady and facts.device == "cpu" and median(facts.points[min(facts.points)]) < INLINE_SECONDS


class InProcessEngine:
    """To be made in the event loop's thread. One batch at a time."""

    slots = 1
    room_ahead = 0

    def __init__(self, loaded: Loaded, thread: ModelThread) -> None:
        self._model: Model = loaded.model
        self._thread = thread
        self._loop = asyncio.get_running_loop()
        self._inline = runs_inline(loaded.facts)
        self._running: Execution | None = None
        self._limit: asyncio.TimerHandle | None = None
        self._hung = False
        self._closed = False
        self._on_available: Callable[[], None] = lambda: None

    @property
    def inline(self) -> bool:
        return self._inline

    @property
    def immediate(self) -> bool:
        return self._inline and self.available > 0

    @property
    def available(self) -> int:
        return 0 if self._running is not None or self._hung or self._closed else 1

    @property
    def alive(self) -> bool:
        return not (self._hung or self._closed)

    @property
    def failure(self) -> str | None:
        return "The model hangs in the runtime's process, where nothing can end it." if self._hung else None

    def on_available(self, callback: Callable[[], None]) -> None:
        self._on_available = callback

    def allocate(self, layout: Layout) -> Mapping[str, Array]:
        return {name: np.empty(shape, dtype) for name, (shape, dtype) in layout.items()}

    def start(self, execution: Execution) -> None:
        if self._inline:
            self._run_inline(execution)
            return
        self._running = execution
        self._limit = self._loop.call_later(execution.limit_seconds, self._give_up, execution)
        self._thread.post(lambda: self._work(execution))

    def release(self, execution: Execution) -> None:
        """The arrays are numpy's own; they go when nobody holds them."""

    async def close(self) -> None:
        self._closed = True
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._thread.call(self._model.close)
        except TimeoutError:
            log.warning("The model did not close within %d s", _CLOSE_SECONDS)

    def _run_inline(self, execution: Execution) -> None:
        begun, computed = perf_counter(), thread_time()
        execution.outputs, execution.error = self._predict(execution)
        seconds = execution.compute_seconds = perf_counter() - begun
        # A thread that only had to wait for its CPU would be late in any other place as well.
        if seconds > _BLOCKED_SECONDS and thread_time() - computed > _BLOCKED_SECONDS:
            self._leave_loop(seconds)
        execution.done(execution)

    def _predict(self, execution: Execution) -> Answer:
        try:
            return self._model.predict(execution.inputs, limit_seconds=execution.limit_seconds), None
        except RowsFailedError as error:
            return error.outputs, error
        except PredictionError as error:
            return None, error
        except MemoryError as error:
            return None, DeviceMemoryError(f"The machine has no memory left: {error}")
        except BaseException as error:
            log.exception("The model raised what is no prediction error")
            return None, PredictionError(f"{type(error).__name__}: {error}")

    def _work(self, execution: Execution) -> None:
        """In the model's thread."""
        begun = perf_counter()
        outputs, error = self._predict(execution)
        if outputs is not None:
            # The next batch begins before these are read, and a model may use the same memory for its answer again.
            outputs = {name: array.copy() for name, array in outputs.items()}
        self._loop.call_soon_threadsafe(self._finish, execution, (outputs, error), perf_counter() - begun)

    def _finish(self, execution: Execution, answer: Answer, seconds: float) -> None:
        if self._running is not execution:
            log.warning("The model came back after %.1f s, when its requests were given up", seconds)
            self._hung = False
            self._on_available()
            return
        assert self._limit is not None
        self._limit.cancel()
        self._running = None
        execution.outputs, execution.error = answer
        execution.compute_seconds = seconds
        execution.done(execution)

    def _give_up(self, execution: Execution) -> None:
        log.error("The model hangs: a batch runs for more than %.1f s", execution.limit_seconds)
        self._running = None
        self._hung = True
        execution.compute_seconds = execution.limit_seconds
        execution.error = WorkerHungError(f"The model did not answer within {execution.limit_seconds:.1f} s.")
        execution.done(execution)

    def _leave_loop(self, seconds: float) -> None:
        self._inline = False
        log.warning(
            "A batch held the event loop for %.0f ms, so the model runs in a thread from now on. A worker process"
            " would isolate it better: engine.kind Worker",
            1000 * seconds,
        )
