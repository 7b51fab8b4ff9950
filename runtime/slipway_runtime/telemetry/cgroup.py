"""What the container uses and is held back from, as the kernel's control groups tell. Both of their versions.

Source: https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

ROOT: Final = Path("/sys/fs/cgroup")
OWN: Final = Path("/proc/self/cgroup")
_NO_LIMIT_BYTES: Final = 2**60
"""Version 1 writes a number of about 2**63 when there is no limit."""


@dataclass(frozen=True)
class Usage:
    """None: not told."""

    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    """None also where there is no limit."""
    throttled_seconds: float | None = None
    """How long processes that could run had to wait because the CPU limit was used up."""


def read_usage(root: Path = ROOT, own: Path = OWN) -> Usage:
    groups = _own_groups(_read(own) or "")
    return _read_v2(root, groups.get("", "/")) if (root / "cgroup.controllers").exists() else _read_v1(root, groups)


def _own_groups(text: str) -> dict[str, str]:
    """`/proc/self/cgroup`: controller to path; version 2 has the controller ""."""
    groups: dict[str, str] = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            groups[controller] = path
    return groups


def _read_v2(root: Path, path: str) -> Usage:
    group = _inner(root, path, "cpu.stat")
    throttled = _stat(_read(group / "cpu.stat")).get("throttled_usec")
    return Usage(
        _number(_read(group / "memory.current")),
        _number(_read(group / "memory.max")),
        None if throttled is None else throttled / 1e6,
    )


def _read_v1(root: Path, groups: dict[str, str]) -> Usage:
    memory = _inner(root / "memory", groups.get("memory", "/"), "memory.usage_in_bytes")
    cpu = _inner(root / "cpu", groups.get("cpu", "/"), "cpu.stat")
    limit = _number(_read(memory / "memory.limit_in_bytes"))
    throttled = _stat(_read(cpu / "cpu.stat")).get("throttled_time")
    return Usage(
        _number(_read(memory / "memory.usage_in_bytes")),
        None if limit is None or limit >= _NO_LIMIT_BYTES else limit,
        None if throttled is None else throttled / 1e9,
    )


def _inner(root: Path, path: str, file: str) -> Path:
    """In a container the own group is often mounted as the root, and its path is then that of the host."""
    group = root / path.lstrip("/")
    return group if (group / file).exists() else root


def _stat(text: str | None) -> dict[str, int]:
    pairs = (line.split() for line in (text or "").splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _number(text: str | None) -> int | None:
    """None for `max` as well."""
    text = (text or "").strip()
    return int(text) if text.isdigit() else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return None


class CgroupCollector(Collector):
    """Families without a value where the kernel does not tell it."""

    def __init__(self, root: Path = ROOT, own: Path = OWN) -> None:
        self._root = root
        self._own = own

    def collect(self) -> Iterator[Metric]:
        usage = read_usage(self._root, self._own)
        memory = GaugeMetricFamily("slipway_runtime_cgroup_memory_bytes", "Memory that the container uses.", labels=[])
        limit = GaugeMetricFamily(
            "slipway_runtime_cgroup_memory_limit_bytes", "Its memory limit; absent without one.", labels=[]
        )
        throttled = CounterMetricFamily(
            "slipway_runtime_cpu_throttled_seconds",
            "How long the container could have run and was held back by its CPU limit.",
            labels=[],
        )
        for family, value in (
            (memory, usage.memory_bytes),
            (limit, usage.memory_limit_bytes),
            (throttled, usage.throttled_seconds),
        ):
            if value is not None:
                family.add_metric([], value)
            yield family
