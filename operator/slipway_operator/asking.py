"""Asks over the network, beside the passes and never in their way.

One thing at a time for each ModelDeployment, a few at a time for all; until it is answered, later with each attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

import aiohttp

from slipway_operator.cache import Cache, Memory
from slipway_operator.names import COMPONENT
from slipway_operator.resources import Key
from slipway_operator.workqueue import WorkQueue

WORKERS: Final = 16
CONNECT_SECONDS: Final = 3.0
RETRY_BASE_SECONDS: Final = 0.5
RETRY_LIMIT_SECONDS: Final = 60.0
CHANGE_SECONDS: Final = 5.0
"""After a change, before the new way is asked. Who forwards hears of it later than we do, and some controllers gather
changes for seconds; until then the old way answers in its place."""
PATIENCE: Final = 4
"""Attempts in a row before a failure is told: endpoints follow a pod's readiness within a second or two."""

WantedT = TypeVar("WantedT")


class Asker(Generic[WantedT]):
    """`wake` has an object looked at again. `work` asks; as many run as may be under way at a time."""

    retry_limit_seconds: float = RETRY_LIMIT_SECONDS

    def __init__(self, cache: Cache, wake: Callable[[Key], None]) -> None:
        self._cache = cache
        self._wake = wake
        self._wanted: dict[Key, WantedT] = {}
        self._attempts: dict[Key, int] = {}
        self._due: WorkQueue[Key] = WorkQueue()
        self._session: aiohttp.ClientSession | None = None

    def want(self, key: Key, wanted: WantedT | None) -> None:
        """In place of what was to be asked for this object. The same again begins nothing anew."""
        same = wanted == self._wanted.get(key)
        if wanted is not None:
            # Equal ones may differ in what counts as an answer.
            self._wanted[key] = wanted
        if same:
            return
        self._due.forget(key)
        self._attempts.pop(key, None)
        if wanted is None:
            self._wanted.pop(key, None)
        elif seconds := self._patience(wanted):
            self._due.add_after(key, seconds)
        else:
            self._due.add(key)

    async def work(self) -> None:
        """Until closed."""
        while (key := await self._due.get()) is not None:
            try:
                wanted, model = self._wanted.get(key), self._cache.models.get(key)
                if wanted is None or model is None:
                    self.want(key, None)
                else:
                    await self._ask_for(key, self._cache.memory(model), wanted)
            finally:
                self._due.done(key)

    async def close(self) -> None:
        self._due.close()
        if self._session is not None:
            await self._session.close()

    async def _ask_for(self, key: Key, memory: Memory, wanted: WantedT) -> None:
        """Once; keep what came of it in the memory unless another thing is wanted meanwhile."""
        raise NotImplementedError

    def _patience(self, wanted: WantedT) -> float:
        """Seconds before it is asked first."""
        return 0.0

    def _again(self, key: Key) -> int:
        """Later with each attempt in a row. Returns their number."""
        attempts = self._attempts[key] = self._attempts.get(key, 0) + 1
        self._due.add_after(key, min(RETRY_BASE_SECONDS * 2 ** min(attempts, 20), self.retry_limit_seconds))
        return attempts

    def _client(self) -> aiohttp.ClientSession:
        """Nothing secret is sent, so certificates are not checked."""
        if self._session is None:
            # A connection of its own for each inquiry: one that is kept would lead to the same pod again.
            connector = aiohttp.TCPConnector(limit=WORKERS, force_close=True, ssl=False)
            self._session = aiohttp.ClientSession(connector=connector, headers={"User-Agent": COMPONENT})
        return self._session


def reason_of(error: Exception) -> str:
    """The system's words, without the address that is told already."""
    cause = getattr(error, "os_error", None) or error
    return (getattr(cause, "strerror", None) or str(cause) or type(error).__name__).rstrip(".")
