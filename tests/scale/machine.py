"""The machine that a run was on, in words that mean something elsewhere."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path


def description() -> str:
    """Cores, memory, processor and Python; no names."""
    memory = re.search(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
    gib = round(int(memory[1]) / (1 << 20)) if memory else 0
    cpu = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))
    processor = f" ({cpu[1].strip()})" if cpu else ""
    cores = len(os.sched_getaffinity(0))
    return (
        f"{cores} cores{processor} and {gib} GiB of memory, which etcd, kube-apiserver, kube-controller-manager and the"
        f" measuring harness share with the operator; Python {platform.python_version()}"
    )
