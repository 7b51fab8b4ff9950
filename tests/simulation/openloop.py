"""A client of a real server that sends each request when it is due, whatever became of those before."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, cast

_OK: Final = 200
_PAUSE_SECONDS: Final = 0.05
"""Of a client of the closed loop that was refused."""


@dataclass
class Outcome:
    """All requests of one run. Seconds count from when a request was due."""

    latencies: list[float] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    """Until the client came to send it."""

    def served(self) -> list[float]:
        return [seconds for seconds, status in zip(self.latencies, self.statuses, strict=True) if status == _OK]

    def in_target(self, target_seconds: float) -> float:
        return sum(seconds <= target_seconds for seconds in self.served()) / max(1, len(self.statuses))

    def refused(self) -> float:
        return 1 - len(self.served()) / max(1, len(self.statuses))


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._received = b""
        self._done: asyncio.Future[int] | None = None
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def ask(self) -> asyncio.Future[int]:
        """The status; 0 when the connection was lost."""
        assert self._transport is not None
        self._received = b""
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(self._request)
        return self._done

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or self._done is None or self._done.done():
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            self._done.set_result(int(head[9:12]))

    def connection_lost(self, error: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(0)


class Client:
    """As many connections as requests are under way."""

    def __init__(self, host: str, port: int, request: bytes) -> None:
        self._address = (host, port)
        self._request = request
        self._idle: deque[Connection] = deque()

    async def ask(self) -> int:
        connection = self._idle.pop() if self._idle else await self._connect()
        status = await connection.ask()
        if status:
            self._idle.append(connection)
        return status

    async def offer(self, arrivals: Sequence[float]) -> Outcome:
        """`arrivals` in seconds from now, ascending."""
        outcome = Outcome()
        begun = perf_counter()

        async def one(at: float) -> None:
            outcome.delays.append(perf_counter() - begun - at)
            status = await self.ask()
            outcome.latencies.append(perf_counter() - begun - at)
            outcome.statuses.append(status)

        tasks = []
        for at in arrivals:
            await asyncio.sleep(at - (perf_counter() - begun))
            tasks.append(asyncio.create_task(one(at)))
        await asyncio.gather(*tasks)
        return outcome

    async def throughput(self, connections: int, seconds: float) -> float:
        """Answers per second of a closed loop."""
        end, answered = perf_counter() + seconds, 0

        async def repeat() -> None:
            nonlocal answered
            while perf_counter() < end:
                if await self.ask() == _OK:
                    answered += 1
                else:
                    await asyncio.sleep(_PAUSE_SECONDS)

        begun = perf_counter()
        await asyncio.gather(*(repeat() for _ in range(connections)))
        return answered / (perf_counter() - begun)

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(self._request), *self._address)
        return connection
