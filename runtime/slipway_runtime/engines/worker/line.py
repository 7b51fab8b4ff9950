"""The batches that one worker process has: one that it computes, and at most one that it will find ready then."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from slipway_runtime.engines.worker.batch import Batch
from slipway_runtime.engines.worker.timer import PreciseTimer

LEAD_SECONDS: Final = 0.0005
"""How long before the expected end the next batch is asked for: to wake up, form it, and tell the worker."""
COPY_SECONDS_PER_BYTE: Final = 0.25e-9
"""And to copy its rows, which take about as many bytes as those of the batch before."""
SPREAD: Final = 0.1
"""Share of the expected time by which batches often end early."""
LEAST_SHARE: Final = 2.5
"""A batch shorter than this many times the lead is not worth it: the next one would miss too many rows."""


class Line:
    def __init__(
        self, loop: asyncio.AbstractEventLoop, hung: Callable[[Batch], None], opened: Callable[[], None]
    ) -> None:
        self.open = False
        """The next batch may be handed over already."""
        self._loop = loop
        self._hung = hung
        self._opened = opened
        self._batches: deque[Batch] = deque()
        self._hang_timer: asyncio.TimerHandle | None = None
        self._timer = PreciseTimer(loop, self._open)

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def head(self) -> Batch | None:
        """The one that is computed."""
        return self._batches[0] if self._batches else None

    def add(self, batch: Batch) -> None:
        self._batches.append(batch)
        if len(self._batches) == 1:
            self._begin(batch)
        else:
            self.open = False

    def finish(self) -> None:
        """The head is done; the worker goes on with the one behind it."""
        self._batches.popleft()
        self._end()
        if self._batches:
            self._begin(self._batches[0])
            self._batches[0].execution.followed()

    def clear(self) -> list[Batch]:
        """All that were there: the first one had begun."""
        left = list(self._batches)
        self._batches.clear()
        self._end()
        return left

    def close(self) -> None:
        self._end()
        self._timer.close()

    def _begin(self, batch: Batch) -> None:
        execution = batch.execution
        self._hang_timer = self._loop.call_later(execution.limit_seconds, self._hung, batch)
        expected = execution.expected_seconds
        lead = LEAD_SECONDS + COPY_SECONDS_PER_BYTE * batch.inputs.size_bytes + SPREAD * expected
        if expected > LEAST_SHARE * lead:
            self._timer.arm(expected - lead)

    def _end(self) -> None:
        self.open = False
        if self._hang_timer:
            self._hang_timer.cancel()
            self._hang_timer = None
        self._timer.disarm()

    def _open(self) -> None:
        if len(self._batches) == 1:
            self.open = True
            self._opened()
