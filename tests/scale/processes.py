"""CPU time and memory of a process and its children, as the kernel counts them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
_MIB: Final = 1 << 20


@dataclass(frozen=True)
class Usage:
    """`peak` is of the process itself: the kernel keeps none for a family."""

    cpu_seconds: float
    resident_mib: float
    family_mib: float
    """With its children."""
    peak_mib: float
    processes: int


def usage(pid: int) -> Usage:
    family = [pid, *descendants(pid)]
    resident = [_status_mib(member, "VmRSS") for member in family]
    return Usage(
        cpu_seconds=sum(cpu_seconds(member) for member in family),
        resident_mib=resident[0],
        family_mib=sum(resident),
        peak_mib=_status_mib(pid, "VmHWM"),
        processes=len(family),
    )


def cpu_seconds(pid: int) -> float:
    """User and system time, with that of children that were waited for. Source: proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / _TICKS_PER_SECOND


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text(encoding="ascii").split()):
            found += [child, *descendants(child)]
    return found


def _status_mib(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024 / _MIB
    return 0.0
