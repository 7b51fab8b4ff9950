"""Kills and stops workers while they serve."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from typing import Final

from tests.soak.system import Gateway
from tests.soak.timeline import Event

_FIRST: Final = ("killed", "stopped")
_WEIGHTS: Final = {"all killed": 1, "killed": 3, "stopped": 2, "paused": 2}


class Faults:
    """One fault every few seconds, and only while a worker serves: killed ones take seconds to load the model."""

    def __init__(self, gateway: Gateway, chance: random.Random, events: list[Event]) -> None:
        """Each fault is noted in `events`."""
        self._gateway = gateway
        self._chance = chance
        self._events = events
        self._stopped: set[int] = set()
        self.counts: Counter[str] = Counter()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._chance.uniform(0.5, 3))
            if await self._gateway.workers_up() < (1 if self._chance.random() < 0.1 else 2):
                continue
            workers = self._gateway.workers
            victims = [pid for pid in workers if pid not in self._stopped]  # a stopped one is left to be found out
            if not victims:
                continue
            match self._next_fault():
                case "all killed":
                    self._send("all killed", workers, signal.SIGKILL)
                case "killed":
                    self._send("killed", [self._chance.choice(victims)], signal.SIGKILL)
                case "stopped":
                    self._send("stopped", [self._chance.choice(victims)], signal.SIGSTOP)
                case _:
                    victim = self._chance.choice(victims)
                    self._send("paused", [victim], signal.SIGSTOP)
                    await asyncio.sleep(self._chance.uniform(0.1, 1.0))
                    self._wake(victim)

    def _next_fault(self) -> str:
        """A kill and a stop first, so that a short run has both."""
        begun = sum(self.counts.values())
        if begun < len(_FIRST):
            return _FIRST[begun]
        return self._chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]

    def _send(self, fault: str, victims: list[int], number: signal.Signals) -> None:
        for victim in victims:
            with suppress(ProcessLookupError):
                os.kill(victim, number)
                if number is signal.SIGSTOP:
                    self._stopped.add(victim)
        self.counts[fault] += 1
        self._events.append(Event(time.time(), "fault", f"{fault}: {victims}"))

    def _wake(self, victim: int) -> None:
        self._stopped.discard(victim)
        if victim not in self._gateway.workers:
            return
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGCONT)

    def end(self) -> None:
        """A worker that is stopped while nobody asks would stay so: nothing times out."""
        for victim in list(self._stopped):
            self._wake(victim)
