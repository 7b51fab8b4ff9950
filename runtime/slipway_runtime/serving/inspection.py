"""What a person who debugs wants to see of the process: its effective configuration, and what it is doing right now."""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, Final

from slipway_runtime.contract import RuntimeConfig
from slipway_runtime.metrics import Metrics
from slipway_runtime.redact import redact_uri

CONFIG_PATH: Final = "/debug/config"
THREADS_PATH: Final = "/debug/threads"
"""On the admin port."""
_PATIENCE_SECONDS: Final = 0.5
"""A loop that does not come to look at its tasks for so long is busy, and its thread's stack shows with what."""
_MOST_TASKS: Final = 200


class Inspection:
    """Asked from the admin port's thread. Tells places in code and settings, never a value of a request or a key."""

    def __init__(self, config: RuntimeConfig, metrics: Metrics, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """`loop` is the one of the inference port."""
        self._config = config
        self._metrics = metrics
        self._loop = loop

    def configuration(self) -> dict[str, Any]:
        """With every default filled in. What was left to the runtime to find is what it found, once it has."""
        told = self._config.model_dump(mode="json", by_alias=True)
        told["artifact"]["uri"] = redact_uri(self._config.artifact.uri)
        limits = told["limits"]
        if limits["maxDecompressedBytes"] is None:
            limits["maxDecompressedBytes"] = self._config.max_request_bytes
        budget = self._metrics.http_counts.budget
        if budget is not None:
            limits["maxInflightBytes"] = budget.limit_bytes
        chosen = self._metrics.engine_counts.choice
        if chosen is not None:
            told["engine"] = {"kind": str(chosen.kind), "workers": chosen.workers, "threads": chosen.threads}
        return told

    def threads(self) -> str:
        """The stack of every thread and of every asyncio task, the innermost call last."""
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        parts = [
            f"Thread {names.get(number, number)}\n{''.join(traceback.format_stack(frame))}"
            for number, frame in sys._current_frames().items()
        ]
        return "\n".join([*parts, *self._tasks()])

    def _tasks(self) -> list[str]:
        loop = self._loop
        if loop is None or loop.is_closed():
            return []
        done: Future[list[str]] = Future()
        try:
            loop.call_soon_threadsafe(lambda: done.set_result(list(_task_stacks(loop))))
            return done.result(_PATIENCE_SECONDS)
        except (TimeoutError, RuntimeError):  # RuntimeError: the loop has ended
            return [f"Tasks: the event loop did not answer within {_PATIENCE_SECONDS} s.\n"]


def _task_stacks(loop: asyncio.AbstractEventLoop) -> Iterator[str]:
    """In the loop's thread."""
    tasks = sorted(asyncio.all_tasks(loop), key=asyncio.Task.get_name)
    for task in tasks[:_MOST_TASKS]:
        name = getattr(task.get_coro(), "__qualname__", "")
        lines = (line for frame in task.get_stack() for line in traceback.format_stack(frame, limit=1))
        yield f"Task {task.get_name()} {name}\n{''.join(lines)}"
    if len(tasks) > _MOST_TASKS:
        yield f"{len(tasks) - _MOST_TASKS} more tasks.\n"
