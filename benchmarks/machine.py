"""The machine that is measured: what it is, and which of its CPUs do what."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmarks.failure import BenchmarkError


@dataclass(frozen=True)
class Placement:
    """CPUs of the server and of the load generator."""

    server: tuple[int, ...]
    generator: tuple[int, ...]

    @property
    def server_list(self) -> str:
        return ",".join(map(str, self.server))

    @property
    def generator_list(self) -> str:
        return ",".join(map(str, self.generator))

    def __str__(self) -> str:
        apart = set(self.server).isdisjoint(self.generator)
        count = f"{len(self.server)} core{'s' if len(self.server) > 1 else ''}"
        return f"server on {count}, generator on {'another' if apart else 'the same'}"


def usable() -> tuple[int, ...]:
    return tuple(sorted(os.sched_getaffinity(0)))


def one_core(cpus: tuple[int, ...]) -> Placement:
    """Server and generator do not share a CPU, where there are two."""
    return Placement(cpus[:1], cpus[-1:])


def all_cores(cpus: tuple[int, ...]) -> Placement:
    return Placement(cpus, cpus)


@dataclass(frozen=True)
class Machine:
    processor: str
    cpus: int
    memory_bytes: int
    kernel: str
    python: str
    virtual: bool

    def __str__(self) -> str:
        kind = " (virtual machine)" if self.virtual else ""
        memory = f"{self.memory_bytes / 2**30:.0f} GiB"
        return f"{self.processor}, {self.cpus} CPUs{kind}, {memory}, Linux {self.kernel}, Python {self.python}"


def describe() -> Machine:
    cpuinfo = Path("/proc/cpuinfo").read_text()
    named = [line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    return Machine(
        processor=named[0] if named else platform.machine(),
        cpus=len(usable()),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        kernel=platform.release().split("-")[0],
        python=platform.python_version(),
        virtual=" hypervisor" in cpuinfo,
    )


def available_bytes() -> int:
    """Memory that can be had without swapping. Source: proc_meminfo(5), MemAvailable."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise BenchmarkError("/proc/meminfo has no MemAvailable; Linux 3.14 or newer is needed.")


def busy_share(previous: tuple[int, int] | None) -> tuple[float, tuple[int, int]]:
    """Share of all CPUs' time that was not idle since `previous`, and the mark for the next call."""
    fields = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle, total = fields[3] + fields[4], sum(fields)
    if previous is None:
        return 0.0, (idle, total)
    passed = max(1, total - previous[1])
    return 1 - (idle - previous[0]) / passed, (idle, total)


def check_programs() -> None:
    """Raises `BenchmarkError` when something that every measurement needs is missing."""
    if platform.system() != "Linux":
        raise BenchmarkError("The benchmarks pin processes to CPUs and read /proc, so they need Linux.")
    missing = [program for program in ("taskset", "go") if shutil.which(program) is None]
    if missing:
        ways = {"taskset": "taskset is part of util-linux", "go": "Go 1.26 or newer is at https://go.dev/dl/"}
        raise BenchmarkError(f"Not on PATH: {', '.join(missing)}. " + "; ".join(ways[name] for name in missing) + ".")
