"""The one thread in which the model is loaded, warmed up and asked. Never the event loop's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Job(Generic[T]):
    """Work in line. `running` becomes True when its turn has come, and stays so."""

    def __init__(self, work: Callable[[], T]) -> None:
        self.work = work
        self.running = False
        self.done: Future[T] = Future()

    def run(self) -> None:
        # False when the client has gone or its time is over: such work is skipped.
        if not self.done.set_running_or_notify_cancel():
            return
        self.running = True
        try:
            result = self.work()
        except BaseException as error:  # noqa: BLE001 - carried to whoever waits
            self.done.set_exception(error)
        else:
            self.done.set_result(result)

    async def wait(self) -> T:
        """Cancelling the wait takes the work out of the line, unless it runs already."""
        return await asyncio.wrap_future(self.done)


class ModelThread:
    """First come, first served. A daemon: a prediction that hangs does not keep the process alive."""

    def __init__(self) -> None:
        self._line: SimpleQueue[Job[Any]] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], T]) -> Job[T]:
        job = Job(work)
        self._line.put(job)
        return job

    def _work(self) -> None:
        while True:
            self._line.get().run()
