"""What was measured, as kept in a JSON file: every sample of every round, nothing averaged away."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from benchmarks.generator import Arrivals, Outcome
from benchmarks.peers import Role

RAW: Final = "torch"


class Kept(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cell(Kept):
    """One thing that is asked of every server."""

    workload: str
    wire: str = "json"
    connections: int = 64
    arrivals: Arrivals = "closed"
    workers: int = 0
    """0: one core, the server's own choice. Else that many workers of the subject on all cores."""

    @property
    def key(self) -> str:
        workers = f"/workers-{self.workers}" if self.workers else ""
        return f"{self.workload}/{self.wire}/{self.connections}/{self.arrivals}{workers}"


class Participant(Kept):
    title: str
    role: Role
    version: str = ""
    note: str = ""


class Memory(Kept):
    """Of all processes of one server with the tiny model, alone on the machine."""

    own_bytes: int
    resident_bytes: int
    processes: int
    ready_seconds: float


class Growth(Kept):
    """Memory of the subject while it answers more and more requests."""

    requests: list[int]
    own_bytes: list[int]


class Results(BaseModel):
    model_config = ConfigDict(extra="forbid")

    date: str
    commit: str = ""
    machine: str
    placement: str
    rounds: int
    seconds: float
    """Of each measured window."""
    packages: dict[str, str] = {}
    """Versions of torch and of what generates the load."""
    participants: dict[str, Participant] = {}
    absent: dict[str, dict[str, str]] = {}
    """Server, workload, reason."""
    samples: dict[str, dict[str, list[Outcome]]] = {}
    """Cell, server, one outcome per round."""
    raw: dict[str, list[dict[Annotated[int, Field(ge=1)], tuple[float, float]]]] = {}
    """Workload, per round: batch size to rows per second and milliseconds, of torch without a server."""
    raw_pairs: dict[str, list[tuple[float, float]]] = {}
    """Workload, per round: rows per second of one process of raw torch, and of two at once together, on all cores."""
    memory: dict[str, Memory] = {}
    growth: Growth | None = None
    generator_requests_per_second: float | None = None
    """Against a trivial server: what the load generator is able to ask for."""
    background_busy: list[float] = []
    """Share of the machine's CPU time that others took, sampled between measurements while all servers stood still."""

    def merge(self, later: Results) -> None:
        """Take over what `later` measured; what it did not measure stays."""
        for name in ("participants", "absent", "samples", "raw", "raw_pairs", "memory", "packages"):
            getattr(self, name).update(getattr(later, name))
        for name in ("date", "commit", "machine", "placement", "rounds", "seconds"):
            setattr(self, name, getattr(later, name))
        self.growth = later.growth or self.growth
        self.generator_requests_per_second = later.generator_requests_per_second or self.generator_requests_per_second
        self.background_busy += later.background_busy

    def add(self, cell: Cell, server: str, outcome: Outcome) -> None:
        self.samples.setdefault(cell.key, {}).setdefault(server, []).append(outcome)
