"""A handler is asked for its health now and then; one that is not well ends its process and is started anew."""

from __future__ import annotations

import select
from time import monotonic
from typing import Final

from slipway_runtime.engines.worker.wire import Channel
from slipway_runtime.models.model import Model

CHECK_SECONDS: Final = 5.0


class UnwellError(Exception):
    """The model's own words."""


class Checkup:
    def __init__(self, model: Model, channel: Channel) -> None:
        self._model = model
        self._poll = select.poll()
        self._poll.register(channel.fileno(), select.POLLIN)
        self._next = monotonic() + CHECK_SECONDS

    def wait(self) -> None:
        """Until a message is there. Raises `UnwellError`."""
        while True:
            left = self._next - monotonic()
            if left > 0 and self._poll.poll(1000 * left):
                return
            wrong = self._model.health()
            if wrong is not None:
                raise UnwellError(wrong)
            self._next = monotonic() + CHECK_SECONDS
