"""Medians and ratios of interleaved rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.generator import Outcome
from benchmarks.results import Cell, Results

Value = Callable[[Outcome], float]


def rate(outcome: Outcome) -> float:
    return outcome.requests_per_second


def p50(outcome: Outcome) -> float:
    return outcome.p50_milliseconds


def p95(outcome: Outcome) -> float:
    return outcome.p95_milliseconds


def p99(outcome: Outcome) -> float:
    return outcome.p99_milliseconds


def requests_per_cpu_second(outcome: Outcome) -> float:
    """Of the server's own CPU time, which others on the machine take nothing from."""
    return 1e6 / outcome.cpu_microseconds if outcome.cpu_microseconds else 0.0


@dataclass(frozen=True)
class Figure:
    """A median and what it is the median of."""

    median: float
    lowest: float
    highest: float


def figure(values: Sequence[float]) -> Figure | None:
    """None of nothing."""
    return Figure(median(values), min(values), max(values)) if values else None


def of(results: Results, cell: Cell, server: str, value: Value) -> Figure | None:
    return figure([value(outcome) for outcome in _right(results, cell, server)])


def ratio(
    results: Results, cell: Cell, server: str, other: str, value: Value, other_cell: Cell | None = None
) -> Figure | None:
    """`server` over `other`, round by round, because the machine changes between rounds. None where one is missing."""
    ours = results.samples.get(cell.key, {}).get(server, [])
    theirs = results.samples.get((other_cell or cell).key, {}).get(other, [])
    pairs = [
        (value(one), value(two))
        for one, two in zip(ours, theirs, strict=False)
        if one.right and two.right and value(two)
    ]
    return figure([one / two for one, two in pairs])


def best_batch(rounds: Sequence[Mapping[int, tuple[float, float]]]) -> int:
    """The batch size with the highest median of rows per second over all rounds.

    Not the highest of each round: of seven noisy figures the highest is one that was lucky.
    """
    return max(rounds[0], key=lambda size: median(sizes[size][0] for sizes in rounds))


def over_raw(results: Results, cell: Cell, server: str) -> Figure | None:
    """Requests per second over the rows per second of raw torch in the same round, at its best batch size."""
    ours = results.samples.get(cell.key, {}).get(server, [])
    raw = results.raw.get(cell.workload, [])
    best = best_batch(raw) if raw else 0
    return figure(
        [
            outcome.requests_per_second / sizes[best][0]
            for outcome, sizes in zip(ours, raw, strict=False)
            if outcome.right
        ]
    )


def raw_scaling(results: Results, workload: str) -> Figure | None:
    """Rows per second of two processes of raw torch at once over those of one: the most that two workers can gain."""
    return figure([two / one for one, two in results.raw_pairs.get(workload, [])])


def mistakes(results: Results, server: str) -> tuple[int, int, int]:
    """Wrong answers, other statuses and errors of one server in all closed loops."""
    outcomes = [
        outcome
        for key, servers in results.samples.items()
        if key.split("/")[3] == "closed"
        for outcome in servers.get(server, [])
    ]
    return sum(o.wrong for o in outcomes), sum(o.refused for o in outcomes), sum(o.errors for o in outcomes)


def _right(results: Results, cell: Cell, server: str) -> list[Outcome]:
    return [outcome for outcome in results.samples.get(cell.key, {}).get(server, []) if outcome.right]
