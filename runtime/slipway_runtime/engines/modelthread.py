"""The one thread in which a model is loaded, and asked where it is too slow for the event loop's own."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)


class ModelThread:
    """First come, first served. A daemon: a prediction that hangs does not keep the process alive."""

    def __init__(self) -> None:
        self._line: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def post(self, work: Callable[[], None]) -> None:
        """`work` tells of its end by itself."""
        self._line.put(work)

    async def call(self, work: Callable[[], T]) -> T:
        """Cancelling the wait takes the work out of the line, unless it runs already."""
        done: Future[T] = Future()

        def run() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - carried to whoever waits
                done.set_exception(error)
            else:
                done.set_result(result)

        self._line.put(run)
        return await asyncio.wrap_future(done)

    def _work(self) -> None:
        while True:
            work = self._line.get()
            try:
                work()
            except Exception:
                log.exception("Work in the model's thread failed inside the runtime")
