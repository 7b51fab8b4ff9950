"""All processes of one server, whatever it started and however that was cut loose: they inherit a mark."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MARK: Final = "BENCHMARK_SERVER"

_MAPPING: Final = re.compile(r"^(?=[0-9a-f]+-[0-9a-f]+ )", re.MULTILINE)
_SHARED_MEMORY: Final = ("/memfd:", "/dev/shm/", "/dev/zero", "/SYSV")


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


@dataclass(frozen=True)
class Footprint:
    """Memory of all processes of one server."""

    own_bytes: int
    """Every page once, whether one of its processes has it or all; what others share with it makes no difference."""
    resident_bytes: int
    """As `ps` adds it up: a shared page counts with each process."""
    processes: int


def cpu_seconds(mark: str) -> float:
    """User and system time of all members so far."""
    ticks = 0
    for process in members(mark):
        with suppress(OSError):
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def footprint(mark: str) -> Footprint:
    own = resident = 0
    files: dict[tuple[str, ...], int] = {}
    found = members(mark)
    for process in found:
        with suppress(OSError):
            rollup = _sizes(Path(f"/proc/{process}/smaps_rollup").read_text().splitlines())
            own += rollup["Pss_Anon"] + rollup["Pss_Shmem"]
            resident += rollup["Rss"]
            for mapping, size in _file_mappings(Path(f"/proc/{process}/smaps").read_text()):
                files[mapping] = max(files.get(mapping, 0), size)
    return Footprint(own + sum(files.values()), resident, len(found))


def _file_mappings(smaps: str) -> Iterator[tuple[tuple[str, ...], int]]:
    """Bytes of each mapped file's part that lie in memory unchanged. Source: proc_pid_smaps(5)."""
    for mapping in _MAPPING.split(smaps)[1:]:
        head, *lines = mapping.splitlines()
        _, _, offset, device, inode, *path = head.split(maxsplit=5)
        if inode != "0" and not "".join(path).startswith(_SHARED_MEMORY):
            sizes = _sizes(lines)
            yield (offset, device, inode), sizes["Rss"] - sizes["Anonymous"]


def _sizes(lines: Iterable[str]) -> dict[str, int]:
    found = {}
    for line in lines:
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            found[name] = int(value[:-3]) * 1024
    return found
