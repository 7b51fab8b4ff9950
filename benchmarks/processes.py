"""All processes of one server, whatever it started and however that was cut loose: they inherit a mark."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

MARK: Final = "BENCHMARK_SERVER"


def members(mark: str) -> list[int]:
    """Ids of the processes whose environment carries the mark."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return sorted(found)


def send(mark: str, number: signal.Signals) -> None:
    for process in members(mark):
        with suppress(ProcessLookupError):
            os.kill(process, number)


def end(mark: str, grace_seconds: float) -> None:
    """SIGTERM to all, SIGKILL to what is left; returns when none is left."""
    send(mark, signal.SIGTERM)
    send(mark, signal.SIGCONT)
    deadline = time.monotonic() + grace_seconds
    while members(mark):
        if time.monotonic() > deadline:
            send(mark, signal.SIGKILL)
        time.sleep(0.05)


def memory(mark: str) -> tuple[int, int, int]:
    """Proportional and resident bytes of all members, and their number.

    A page that several processes share counts once in the proportional sum, and with each of them in the resident one.
    """
    proportional = resident = 0
    found = members(mark)
    for process in found:
        with suppress(OSError):
            for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    proportional += int(line.split()[1]) * 1024
                elif line.startswith("Rss:"):
                    resident += int(line.split()[1]) * 1024
    return proportional, resident, len(found)
