"""Whether a larger batch fits into the container's memory. The kernel kills a process that tries in vain."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from slipway_runtime.models.threads import CGROUP_ROOT

_PROC: Final = Path("/proc")
_SHARE: Final = 0.5
"""Of what is free, for one batch: requests need memory as well, and growth is only estimated."""
_LEAST_GROWTH_BYTES: Final = 16 * 2**20
"""Less than this is the allocator's noise."""
_RESET_PEAK: Final = "5"
"""For clear_refs. Source: proc(5)."""


class MemoryWatch:
    """Learns from the process's peak at each size what a larger one will need. Of the machine's memory, not a GPU's,
    whose refusal is an error that can be handled."""

    def __init__(self, proc: Path = _PROC, cgroup: Path = CGROUP_ROOT) -> None:
        self._proc = proc
        self._cgroup = cgroup
        self._reset_peak()
        self._before_bytes = self._status_bytes("VmRSS")
        self._bytes_per_row = 0.0

    def allows(self, size: int) -> bool:
        free = self.free_bytes()
        return free is None or size * self._bytes_per_row <= _SHARE * free

    def ran(self, size: int) -> None:
        grown = self._status_bytes("VmHWM") - self._before_bytes
        self._bytes_per_row = grown / size if grown > _LEAST_GROWTH_BYTES else 0.0
        self._reset_peak()

    def room_rows(self, size: int) -> int | None:
        """How large a batch the memory allows, where `size` is the largest that ran. What too little to be noticed is
        taken for may be as much as that. None when the system does not tell."""
        free = self.free_bytes()
        return None if free is None else int(_SHARE * free / max(self._bytes_per_row, _LEAST_GROWTH_BYTES / size))

    def free_bytes(self) -> int | None:
        """None when the system does not tell."""
        machine = self._field_bytes(self._proc / "meminfo", "MemAvailable")
        try:
            limit = int((self._cgroup / "memory.max").read_text())
            used = int((self._cgroup / "memory.current").read_text())
        except (OSError, ValueError):  # no cgroup v2, or "max"
            return machine
        own = max(0, limit - used)
        return own if machine is None else min(own, machine)

    def _status_bytes(self, name: str) -> int:
        return self._field_bytes(self._proc / "self/status", name) or 0

    def _reset_peak(self) -> None:
        try:
            (self._proc / "self/clear_refs").write_text(_RESET_PEAK)
        except OSError:
            return  # forbidden: then the peak of all sizes so far counts, which is the same here

    @staticmethod
    def _field_bytes(path: Path, name: str) -> int | None:
        try:
            lines = path.read_text().splitlines()
        except OSError:
            return None
        for line in lines:
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        return None
