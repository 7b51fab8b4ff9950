"""What the runtime promises beside others, and whether the measured figures keep it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from benchmarks import figures
from benchmarks.figures import Figure, p50, p95, rate, requests_per_cpu_second
from benchmarks.results import Cell, Results

SUBJECT: Final = "slipway"
UNTUNED: Final = "slipway-untuned"
Verdict = Literal["met", "missed", "not measured"]

_MLP: Final = Cell(workload="mlp")
_MLP_ALONE: Final = Cell(workload="mlp", connections=1)
_CNN: Final = Cell(workload="cnn", wire="binary")
_CNN_ALONE: Final = Cell(workload="cnn", wire="binary", connections=1)
_ENCODER: Final = Cell(workload="encoder")
_ENCODER_ALONE: Final = Cell(workload="encoder", connections=1)
OPEN_LOAD: Final = 0.6
"""Of a server's own capacity in a closed loop."""


@dataclass(frozen=True)
class Target:
    what: str
    goal: float
    at_least: bool
    measured: Callable[[Results], Figure | None]
    by_cpu: Callable[[Results], Figure | None] = lambda results: None
    """The same ratio of requests per second of CPU time: what it would be on a machine that nobody else uses."""

    def verdict(self, results: Results) -> Verdict:
        found = self.measured(results)
        if found is None:
            return "not measured"
        kept = found.median >= self.goal if self.at_least else found.median <= self.goal
        return "met" if kept else "missed"


def _faster_than(title: str, other: str, goal: float) -> Target:
    return Target(
        f"MLP, JSON, 64 connections: requests/s over {title}",
        goal,
        True,
        lambda results: figures.ratio(results, _MLP, SUBJECT, other, rate),
        lambda results: figures.ratio(results, _MLP, SUBJECT, other, requests_per_cpu_second),
    )


def _workers(workload: str, wire: str, title: str) -> Target:
    one, two = (Cell(workload=workload, wire=wire, workers=count) for count in (1, 2))
    return Target(
        f"{title}: requests/s of two workers over one, all cores",
        1.8,
        True,
        lambda results: figures.ratio(results, two, SUBJECT, SUBJECT, rate, one),
    )


def _near_raw(cell: Cell, title: str) -> Target:
    return Target(
        f"{title}, 64 connections: requests/s over raw torch at its best batch",
        0.95,
        True,
        lambda results: figures.over_raw(results, cell, SUBJECT),
    )


def _memory_over_triton(results: Results) -> Figure | None:
    ours, theirs = results.memory.get(SUBJECT), results.memory.get("triton")
    return figures.figure([ours.own_bytes / theirs.own_bytes]) if ours and theirs else None


def _growth(results: Results) -> Figure | None:
    if results.growth is None:
        return None
    first, *_, last = results.growth.own_bytes
    return figures.figure([last / first])


def _open(arrivals: Literal["paced", "poisson", "bursty"]) -> Target:
    cell = Cell(workload="encoder", arrivals=arrivals)

    def measured(results: Results) -> Figure | None:
        single = figures.of(results, _ENCODER_ALONE, SUBJECT, p50)
        late = figures.of(results, cell, SUBJECT, p95)
        if single is None or late is None:
            return None
        return Figure(*(value / single.median for value in (late.median, late.lowest, late.highest)))

    share = f"{OPEN_LOAD:.0%}"
    return Target(
        f"Encoder, open loop ({arrivals}) at {share} of capacity: p95 over a lone request's p50", 1.25, False, measured
    )


TARGETS: Final = (
    _faster_than("Triton's Python backend as it comes", "triton-unbatched", 4),
    _faster_than("Triton's Python backend with dynamic batching", "triton", 4),
    _faster_than("FastAPI with pydantic", "fastapi", 15),
    _faster_than("KServe", "kserve", 25),
    _faster_than("LitServe", "litserve", 40),
    _faster_than("a bare uvicorn ASGI app", "uvicorn", 1.5),
    _faster_than("a bare asyncio protocol", "bare", 0.4),
    Target(
        "MLP, JSON, 1 connection: p50 over a bare asyncio protocol's",
        2,
        False,
        lambda results: figures.ratio(results, _MLP_ALONE, SUBJECT, "bare", p50),
    ),
    _near_raw(_CNN, "CNN, binary"),
    _near_raw(_ENCODER, "Encoder, JSON"),
    Target(
        "CNN, 64 connections: requests/s with JSON over binary",
        0.95,
        True,
        lambda results: figures.ratio(results, Cell(workload="cnn"), SUBJECT, SUBJECT, rate, _CNN),
    ),
    Target(
        "CNN, binary, 1 connection: p50 over that of the same server without its tuner",
        0.45,
        False,
        lambda results: figures.ratio(results, _CNN_ALONE, SUBJECT, UNTUNED, p50),
    ),
    Target(
        "CNN, binary, 64 connections: requests/s over those of the same server without its tuner",
        1.15,
        True,
        lambda results: figures.ratio(results, _CNN, SUBJECT, UNTUNED, rate),
        lambda results: figures.ratio(results, _CNN, SUBJECT, UNTUNED, requests_per_cpu_second),
    ),
    _workers("cnn", "binary", "CNN, binary"),
    _workers("encoder", "json", "Encoder, JSON"),
    *(_open(arrivals) for arrivals in ("paced", "poisson", "bursty")),
    Target("Memory with the MLP over Triton's", 1, False, _memory_over_triton),
    Target("Memory after the last request over memory after the first tenth of them", 1.02, False, _growth),
)
