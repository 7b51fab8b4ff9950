"""How many CPU threads a model may use: the container's quota, not the node's cores."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

CGROUP_ROOT: Final = Path("/sys/fs/cgroup")


def usable_cpus(cgroup: Path = CGROUP_ROOT) -> int:
    """At least 1; a quota of 2.5 CPUs gives 2 threads, which run without being throttled."""
    affine = len(os.sched_getaffinity(0))
    quota = _quota(cgroup)
    return affine if quota is None else max(1, min(affine, int(quota)))


def _quota(cgroup: Path) -> float | None:
    """CPUs per period from cgroup v2's `cpu.max` or v1's `cpu.cfs_*`; None when there is no limit."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    try:
        limit = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None  # "max" in v2
    return limit if limit > 0 else None
