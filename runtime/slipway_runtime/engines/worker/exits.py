"""How a process ended, in words, and whether the kernel ended it for want of memory."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Final

from slipway_runtime.engines.worker.restarts import Cause
from slipway_runtime.models.threads import CGROUP_ROOT

_COUNTS: Final = ("memory.events", "memory/memory.oom_control")
"""Of cgroup v2 and v1, as they are seen inside a container; both have a line `oom_kill` and a number."""


def count_oom_kills(cgroup: Path = CGROUP_ROOT) -> int:
    """Processes of this container that the kernel killed for memory so far; 0 when it does not tell."""
    for name in _COUNTS:
        try:
            lines = (cgroup / name).read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            key, _, value = line.partition(" ")
            if key == "oom_kill" and value.strip().isdecimal():
                return int(value)
    return 0


def explain_exit(code: int, oom_kills: int) -> tuple[Cause, str]:
    """`code` as `subprocess` has it, negative for a signal; `oom_kills` that were counted while it lived."""
    if code >= 0:
        return Cause.CRASH, f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if -code == signal.SIGKILL and oom_kills > 0:
        return Cause.OUT_OF_MEMORY, f"was killed by the kernel ({name}) because the container's memory was used up"
    return Cause.CRASH, f"was killed by {name}"
