"""Keeps the Lease: waits for it, renews it, hands it over. What may be done when is decided in `lease`."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any, Final, Protocol

from slipway_operator import clock
from slipway_operator.errors import ApiError, ConflictError, NotFoundError, TransientError
from slipway_operator.lease import Lease, Record, Standing
from slipway_operator.metrics import Metrics
from slipway_operator.names import COMPONENT
from slipway_operator.resources import Key

RELEASE_SECONDS: Final = 2.0
ATTEMPTS_IN_DEADLINE: Final = 3
"""A request about the Lease may take its part of the renewal deadline, so that a dead connection can be given up."""

_log = logging.getLogger(f"{COMPONENT}.lease")


class LeaseStore(Protocol):
    """The Lease object on the API server. Raises `ApiError`."""

    async def get_lease(self, key: Key, timeout_seconds: float) -> dict[str, Any]: ...

    async def put_lease(self, key: Key, body: dict[str, Any], timeout_seconds: float) -> dict[str, Any]:
        """Create it when `body` has no resource version, else replace that version of it."""
        ...


class Elector:
    """`run` ends only when the Lease is lost."""

    def __init__(
        self,
        lease: Lease,
        key: Key,
        store: LeaseStore,
        metrics: Metrics,
        *,
        resumed: Callable[[], None] = lambda: None,
        now: Callable[[], float] = clock.boottime,
    ) -> None:
        self.lease = lease
        self.key = key
        self.leading = asyncio.Event()
        self.problem: str | None = "it was not read yet"
        """Why the Lease could not be read or written the last time."""
        self.seen = False
        """It was read or written at least once: address, identity and rights are right."""
        self._store = store
        self._metrics = metrics
        self._resumed = resumed
        self._now = now
        self._look_first = True
        self._fenced = False
        metrics.leader.set_function(lambda: float(self.seconds_for_a_write() > 0))

    def seconds_for_a_write(self) -> float:
        return self.lease.seconds_for_a_write(self._now())

    async def run(self) -> None:
        while True:
            pause = await self._turn()
            if self.lease.standing is Standing.LOST:
                break
            await asyncio.sleep(pause)
        holder = self.lease.record.holder if self.lease.record is not None else ""
        _log.warning("the Lease %s went to %s", self.key, holder or "nobody")

    async def release(self) -> None:
        """Nothing may be written from here on; whoever waits need not wait for the Lease to expire."""
        held = self.lease.standing is Standing.LEADING
        self.lease.let_go()
        if not held:
            return
        deadline = self._now() + RELEASE_SECONDS
        while (left := deadline - self._now()) > 0:
            try:
                await self._store.put_lease(self.key, self._body(), left)
            except ConflictError:
                # A renewal whose answer did not come.
                if not await self._is_still_ours(left):
                    return
            except ApiError as error:
                _log.warning("the Lease %s was not released and expires by itself: %s", self.key, error)
                return
            else:
                _log.info("released the Lease %s", self.key)
                return

    async def _is_still_ours(self, seconds: float) -> bool:
        try:
            record = Record.parse(await self._store.get_lease(self.key, seconds))
        except ApiError:
            return False
        self.lease.saw(record, self._now())
        return record.holder == self.lease.identity

    async def _turn(self) -> float:
        """Look, and write where that is due. Returns the seconds until the next turn."""
        limit = self.lease.times.renew_deadline_seconds / ATTEMPTS_IN_DEADLINE
        try:
            if self._look_first or self.lease.standing is Standing.STANDBY:
                await self._look(limit)
            if self.lease.may_write(self._now()):
                await self._write(limit)
        except ApiError as error:
            return self._failed(error)
        self.problem = None
        self.seen = True
        if self._fenced and self.seconds_for_a_write() > 0:
            self._fenced = False
            _log.warning("the Lease %s is renewed again; what was held back goes on", self.key)
            self._resumed()
        return self.lease.seconds_to_wait(self._now()) * random.uniform(0.9, 1.0)  # noqa: S311

    async def _look(self, limit: float) -> None:
        known = self.lease.record
        try:
            record = Record.parse(await self._store.get_lease(self.key, limit))
        except NotFoundError:
            record = None
        self.lease.saw(record, self._now())
        self._look_first = False
        if record is None:
            return
        self._metrics.lease_transitions.set(record.transitions)
        if record.holder not in ("", self.lease.identity) and (known is None or known.holder != record.holder):
            _log.info("%s holds the Lease %s", record.holder, self.key)

    async def _write(self, limit: float) -> None:
        # Whatever becomes of the request, the object is to be read before it is written again.
        self._look_first = True
        former = self.lease.record
        asked_at = self._now()
        body = await self._store.put_lease(self.key, self._body(), limit)
        self.lease.wrote(Record.parse(body), asked_at)
        self._look_first = False
        self._metrics.lease_transitions.set(body["spec"]["leaseTransitions"])
        if not self.leading.is_set():
            self.leading.set()
            whose = former.holder if former is not None else ""
            _log.info("holding the Lease %s as %s, after %s", self.key, self.lease.identity, whose or "nobody")

    def _body(self) -> dict[str, Any]:
        return self.lease.body(self.key.name, self.key.namespace, clock.utc_now())

    def _failed(self, error: ApiError) -> float:
        pause = self.lease.times.retry_seconds / 2
        if isinstance(error, ConflictError):
            # Somebody else was quicker, or our own write went through without an answer. Look again.
            return pause * random.uniform(0.1, 1.0)  # noqa: S311
        if str(error) != self.problem:
            _log.warning("the Lease %s cannot be reached: %s", self.key, error)
            self.problem = str(error)
        if self.lease.standing is Standing.LEADING and not self._fenced and self.seconds_for_a_write() <= 0:
            self._fenced = True
            _log.warning("the Lease %s was not renewed in time; nothing is written until it is", self.key)
        if isinstance(error, TransientError) and error.retry_after_seconds:
            pause = max(pause, min(error.retry_after_seconds, self.lease.times.retry_seconds))
        return pause * random.uniform(0.9, 1.1)  # noqa: S311
