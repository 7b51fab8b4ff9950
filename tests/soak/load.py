"""The load: arrivals at a rate below and above what the runtime can do, in turns."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final

import grpc

from tests.soak.clients import KINDS, REQUEST_TIMEOUT_SECONDS, Clients, WrongAnswerError
from tests.soak.rpcclients import RpcClients
from tests.soak.verdict import Tally
from tests.soak.wire import ProtocolError, Server

_MARGIN_SECONDS: Final = 115.0
"""On a machine that does other work, where gRPC's library takes seconds for each call. A hang has no end at all."""
_MOST_AT_ONCE: Final = 400
_TURN_SECONDS: Final = 5.0
_BELOW: Final = 0.4
_ABOVE: Final = 2.0
_CALIBRATION_CLIENTS: Final = 16
_RPC_WEIGHTS: Final = {"gRPC": 14, "gRPC broken": 3, "gRPC left": 3}


class Load:
    def __init__(self, server: Server, channel: grpc.aio.Channel, chance: random.Random, tally: Tally) -> None:
        clients = Clients(server, chance)
        rpc = RpcClients(channel, clients, chance)
        self._chance = chance
        self._tally = tally
        self._asks: dict[str, Callable[[], Awaitable[str]]] = {
            name: lambda kind=kind: kind(clients)  # type: ignore[misc]
            for name, (_, kind) in KINDS.items()
        }
        self._asks |= {"gRPC": rpc.honest, "gRPC broken": rpc.broken, "gRPC left": rpc.leave}
        weights = {name: weight for name, (weight, _) in KINDS.items()} | _RPC_WEIGHTS
        self._names, self._weights = list(weights), list(weights.values())
        self._honest = [name for name in self._names if name.startswith("honest") or name == "gRPC"]
        self._running: set[asyncio.Task[None]] = set()
        self.longest = {"HTTP": 0.0, "gRPC": 0.0}
        """Seconds that an honest client of each port waited for any answer."""

    async def each_once(self) -> None:
        """One client of every kind, before anything is measured."""
        await asyncio.gather(*(self._ask(name) for name in self._names))

    async def calm(self) -> list[str]:
        """What went wrong although nothing disturbs: every honest client must get its values."""
        wrong = []
        for name in self._honest:
            outcome, note = await self._outcome(name)
            if outcome not in ("200", "OK"):
                wrong.append(f"{name}: {outcome} from a runtime at rest. {note}")
        return wrong

    async def capacity(self, seconds: float) -> float:
        """Honest requests per second that a few clients get answered who ask one after the other."""
        end = time.monotonic() + seconds
        answered = 0

        async def ask() -> None:
            nonlocal answered
            while time.monotonic() < end:
                await self._ask(self._chance.choice(self._honest))
                answered += 1

        await asyncio.gather(*(ask() for _ in range(_CALIBRATION_CLIENTS)))
        return answered / seconds

    async def run(self, seconds: float, capacity: float) -> None:
        begun = time.monotonic()
        due = begun
        while (now := time.monotonic()) < begun + seconds:
            above = int((now - begun) / _TURN_SECONDS) % 2 == 1
            due = max(due, now - 1.0) + self._chance.expovariate(capacity * (_ABOVE if above else _BELOW))
            await asyncio.sleep(max(0.0, due - now))
            while len(self._running) >= _MOST_AT_ONCE:
                await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            (name,) = self._chance.choices(self._names, self._weights)
            task = asyncio.create_task(self._ask(name))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        if self._running:
            await asyncio.wait(self._running)

    async def _ask(self, name: str) -> None:
        begun = time.monotonic()
        outcome, note = await self._outcome(name)
        if name in self._honest:
            port = "gRPC" if name == "gRPC" else "HTTP"
            self.longest[port] = max(self.longest[port], time.monotonic() - begun)
        self._tally.add(name, outcome, note)

    async def _outcome(self, name: str) -> tuple[str, str]:
        """And what there is to say about it."""
        begun = time.monotonic()
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS + _MARGIN_SECONDS):
                return await self._asks[name](), ""
        except TimeoutError:
            outcome, note = "no answer", "It hangs."
        except WrongAnswerError as error:
            outcome, note = "wrong answer", str(error)
        except (ProtocolError, OSError) as error:
            outcome, note = "no answer", f"{type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001 - whatever a client trips over is the verdict's business
            outcome, note = "unreadable", repr(error)
        return outcome, f"{note} (after {time.monotonic() - begun:.1f} s)"
