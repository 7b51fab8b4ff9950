"""What one run has found, its budgets, and the tables that show both. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

CPU_BUDGET_PERCENT: Final = 5.0
"""Of one core, at rest, with the sweeps in it."""
MEMORY_BUDGET_MIB: Final = 200.0
RATIO_BUDGET: Final = 1.25
"""Of the time to converge to that which the write rate alone would take."""
WRITES_BUDGET: Final = 12.0
"""For each object, from its creation until it serves."""


@dataclass
class Figures:
    """All times in seconds. What was not measured stays None."""

    objects: int
    writes_per_second: float
    sweep_seconds: float
    converged_seconds: float = 0.0
    creation_seconds: float = 0.0
    writes: dict[str, int] = field(default_factory=dict)
    """By resource, until none were sent any more."""
    converged_writes: int = 0
    """Of these, what had been sent when all served: the last events come after that."""
    server_applies: int = 0
    """The API server's own count of server-side applies in that time."""
    operator_applies: int = 0
    busy_cpu_seconds: float = 0.0
    rest_cpu_percent: float = 0.0
    """Without sweeps."""
    sweep_cpu_seconds: float = 0.0
    resident_mib: float = 0.0
    family_mib: float = 0.0
    peak_mib: float = 0.0
    processes: int = 1
    rest_writes: int = 0
    edits: int = 0
    edit_p50: float = 0.0
    edit_p95: float = 0.0
    sweeps: int = 0
    sweep_writes: int = 0
    restart_seconds: float = 0.0
    restart_writes: int = 0
    handover_seconds: float | None = None
    takeover_seconds: float | None = None
    takeover_writes: int | None = None
    lease_seconds: float | None = None

    @property
    def total_writes(self) -> int:
        return sum(self.writes.values())

    @property
    def writes_per_object(self) -> float:
        return self.total_writes / self.objects

    @property
    def ideal_seconds(self) -> float:
        """The bucket starts full, with two seconds' worth."""
        return max((self.converged_writes or self.total_writes) / self.writes_per_second - 2, 1.0)

    @property
    def ratio(self) -> float:
        return self.converged_seconds / max(self.ideal_seconds, self.creation_seconds)

    @property
    def cpu_percent(self) -> float:
        """At rest, with the sweeps' share."""
        return self.rest_cpu_percent + 100 * self.sweep_cpu_seconds / self.sweep_seconds


def missed(found: Figures) -> list[str]:
    """A sentence for each budget that was missed."""
    checks = (
        (found.cpu_percent < CPU_BUDGET_PERCENT, f"{found.cpu_percent:.1f} % of a core at rest"),
        (found.family_mib < MEMORY_BUDGET_MIB, f"{found.family_mib:.0f} MiB of memory"),
        (found.rest_writes == 0, f"{found.rest_writes} writes at rest"),
        (found.sweeps > 0, "no sweep was seen"),
        (found.sweep_writes == 0, f"{found.sweep_writes} writes in sweeps that found nothing to do"),
        (found.restart_writes == 0, f"{found.restart_writes} writes after a restart"),
        (not found.takeover_writes, f"{found.takeover_writes} writes that a take-over made"),
        (found.ratio < RATIO_BUDGET, f"{found.ratio:.2f} times what the write rate alone would take to converge"),
        (found.writes_per_object <= WRITES_BUDGET, f"{found.writes_per_object:.1f} writes for each object"),
        (
            found.operator_applies == found.server_applies,
            f"the operator counts {found.operator_applies} applies, the API server {found.server_applies}",
        ),
    )
    return [text for holds, text in checks if not holds]


def table(found: Figures) -> str:
    """The figures of one run, each beside its budget."""
    rows = [
        (
            f"{found.objects} objects created and converged",
            f"{found.converged_seconds:.0f} s",
            f"{found.ratio:.2f} times what the write rate alone takes; at most {RATIO_BUDGET:.2f}",
        ),
        (
            "Writes for each object, all of the operator's",
            f"{found.writes_per_object:.2f}",
            f"at most {WRITES_BUDGET:.0f}",
        ),
        *((f"… {name}", f"{count / found.objects:.2f}", "") for name, count in sorted(found.writes.items())),
        ("CPU for each object until it serves", f"{1000 * found.busy_cpu_seconds / found.objects:.1f} ms", ""),
        ("CPU at rest, sweeps in it", f"{found.cpu_percent:.1f} % of a core", f"under {CPU_BUDGET_PERCENT:.0f} %"),
        ("… watches alone", f"{found.rest_cpu_percent:.1f} %", ""),
        (f"… one sweep, every {found.sweep_seconds:.0f} s", f"{found.sweep_cpu_seconds:.1f} s of CPU", ""),
        (
            "Memory, children included",
            f"{found.family_mib:.0f} MiB in {found.processes} process{'es' if found.processes > 1 else ''}",
            f"under {MEMORY_BUDGET_MIB:.0f} MiB",
        ),
        ("… at its highest", f"{found.peak_mib:.0f} MiB", ""),
        ("Writes at rest", str(found.rest_writes), "0"),
        (f"Writes of {found.sweeps} full sweeps", str(found.sweep_writes), "0"),
        ("Restart until the whole cluster is known", f"{found.restart_seconds:.1f} s", ""),
        ("… writes", str(found.restart_writes), "0"),
        (f"Edit until its Deployment is changed, median of {found.edits}", f"{1000 * found.edit_p50:.0f} ms", ""),
        ("… 95th percentile", f"{1000 * found.edit_p95:.0f} ms", ""),
    ]
    if found.takeover_seconds is not None and found.handover_seconds is not None:
        rows += [
            ("Edit until its Deployment, leader ended by SIGTERM", f"{found.handover_seconds:.1f} s", ""),
            (
                f"… leader killed, with a lease of {found.lease_seconds:.0f} s",
                f"{found.takeover_seconds:.1f} s",
                "",
            ),
            ("… writes of the take-over beside the edit's", str(found.takeover_writes), "0"),
        ]
    lines = ["| | measured | budget |", "|---|---:|---|"]
    return "\n".join(lines + [f"| {name} | {measured} | {budget} |" for name, measured, budget in rows])


GROWTH_HEAD: Final = (
    "| objects | writes each | converged | to the ideal | CPU at rest | sweep | memory | restart | edit p50 / p95 |\n"
    "|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
)


def growth_row(found: Figures) -> str:
    return (
        f"| {found.objects} | {found.writes_per_object:.2f} | {found.converged_seconds:.0f} s | {found.ratio:.2f}"
        f" | {found.cpu_percent:.1f} % | {found.sweep_cpu_seconds:.1f} s CPU | {found.family_mib:.0f} MiB"
        f" | {found.restart_seconds:.1f} s | {1000 * found.edit_p50:.0f} / {1000 * found.edit_p95:.0f} ms |"
    )
