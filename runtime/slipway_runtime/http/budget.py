"""Memory that requests may hold together, in bytes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_CGROUPS: Final = Path("/sys/fs/cgroup")
_NO_LIMIT_BYTES: Final = 2**60
"""cgroup v1 writes a number of about 2**63 when there is no limit."""


class ByteBudget:
    """Bodies, and whatever else grows with them. Used from the event loop's thread.

    Who comes alone always gets what it asks for, so that a request within its own limit cannot be refused for ever.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0

    def take(self, size_bytes: int) -> bool:
        """False: it does not fit now. What was taken must be given back."""
        used = self.used_bytes + size_bytes
        if used > self.limit_bytes and self.used_bytes:
            return False
        self.used_bytes = used
        return True

    def give(self, size_bytes: int) -> None:
        self.used_bytes -= size_bytes


def memory_limit_bytes(cgroups: Path = _CGROUPS) -> int:
    """The container's memory limit, or the machine's memory where there is none."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            text = (cgroups / name).read_text().strip()
        except OSError:
            continue
        if text.isdigit() and 0 < int(text) < _NO_LIMIT_BYTES:
            return min(int(text), machine)
    return machine
