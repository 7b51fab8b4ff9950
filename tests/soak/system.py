"""What the operating system and the admin port say about the runtime's processes."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.runtime.server import RuntimeServer
from tests.runtime.workers import children, open_descriptors
from tests.soak.wire import Server

_POLL_SECONDS: Final = 0.1


def state_of(pid: int) -> str:
    """One letter as ps shows it; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


class Gateway:
    def __init__(self, server: RuntimeServer) -> None:
        self.pid = server.process.pid
        host, port = server.admin_uri.removeprefix("http://").split(":")
        self._admin = Server(host, int(port))

    async def metrics(self) -> str:
        async with self._admin.fresh() as connection:
            await connection.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            async with asyncio.timeout(60):
                return (await connection.read_answer()).body.decode()

    async def metric(self, name: str, *labels: str) -> float:
        """The sum of all series that have these labels, each written `name="value"`."""
        found = re.findall(rf"^{name}(\{{.*\}})? (\S+)$", await self.metrics(), re.MULTILINE)
        return sum(float(value) for given, value in found if all(label in given for label in labels))

    async def workers_up(self) -> int:
        return int(
            await self.metric("slipway_runtime_worker_state", 'state="idle"')
            + await self.metric("slipway_runtime_worker_state", 'state="busy"')
        )

    @property
    def workers(self) -> list[int]:
        return [pid for pid in children(self.pid) if state_of(pid) not in ("Z", "")]

    @property
    def zombies(self) -> list[int]:
        return [pid for pid in children(self.pid) if state_of(pid) == "Z"]

    @property
    def descriptors(self) -> int:
        return open_descriptors(self.pid)

    @property
    def memory_bytes(self) -> int:
        """Resident and its own: without files and what it shares with workers."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        matched = re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
        return int(matched[1]) * 1024 if matched else 0


async def becomes(holds: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL_SECONDS)
    return True
