"""Prints the comparison as Markdown, or writes it into its page: python -m tests.simulation [--write]."""

from __future__ import annotations

import argparse
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from statistics import mean

from tests.simulation.hardware import HARDWARE
from tests.simulation.page import PAGE, render, replace_table
from tests.simulation.rivals import RIVALS, Queue
from tests.simulation.study import ROWS, Cell, clairvoyant, drifted, held_rate, measure
from tests.simulation.subject import Efficient, Subject

POLICIES: tuple[type[Queue | Subject], ...] = (*RIVALS, Subject, Efficient)
CAPACITY_SEEDS = (21, 22)
DRIFT_SEEDS = (5, 105, 205)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="simulated time per run")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--by-hardware", action="store_true", help="one table per simulated hardware as well")
    parser.add_argument("--capacity", action="store_true", help="the rates that each policy holds, instead")
    parser.add_argument("--drift", action="store_true", help="what a slow-down of the hardware does, instead")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/batching.md")
    arguments = parser.parse_args()
    with ProcessPoolExecutor(arguments.processes) as pool:
        if arguments.capacity:
            tables = {"capacity": capacity_table(pool, arguments.seconds)}
        elif arguments.drift:
            tables = {"drift": drift_table(pool)}
        else:
            tables = main_tables(pool, arguments.seconds, by_hardware=arguments.by_hardware)
    for name, lines in tables.items():
        print(f"{name}\n\n" + "\n".join(lines) + "\n")
        if arguments.write:
            PAGE.write_text(replace_table(PAGE.read_text(), name, lines))


def main_tables(pool: Executor, seconds: float, *, by_hardware: bool) -> dict[str, list[str]]:
    """Percent of offered requests answered within the target: the mean of all hardware, and each by itself."""
    measured = {policy.name: list(pool.map(partial(measure, policy, seconds=seconds), ROWS)) for policy in POLICIES}
    bound = list(pool.map(partial(clairvoyant, seconds=seconds), ROWS))
    tables = {"policies": _compare(measured, bound)}
    for name in HARDWARE if by_hardware else ():
        own = {policy: [{name: cells[name]} for cells in rows] for policy, rows in measured.items()}
        tables[f"policies on {name}"] = _compare(own, None)
    return tables


def capacity_table(pool: Executor, seconds: float) -> list[str]:
    cells = [(kind, arrivals) for kind in HARDWARE for arrivals in ("Poisson", "bursty")]
    head = ["policy", *(f"{kind}, {arrivals}" for kind, arrivals in cells)]
    rows = []
    for policy in POLICIES:
        jobs = [
            pool.submit(held_rate, policy, HARDWARE[kind], arrivals, seconds, CAPACITY_SEEDS)
            for kind, arrivals in cells
        ]
        rows.append([policy.name, *(f"{job.result():.0f}" for job in jobs)])
    return render(head, rows)


def drift_table(pool: Executor) -> list[str]:
    head = ["policy", "before", "first 3 s after", "later", "served p99 / target, later"]
    rows = []
    for policy in POLICIES:
        found = list(pool.map(partial(drifted, policy, HARDWARE["gpu"]), DRIFT_SEEDS))
        shares = [mean(getattr(one, part) for one in found) for part in ("before", "at_once", "after")]
        p99 = mean(one.served_p99 for one in found)
        rows.append([policy.name, *(f"{100 * share:.1f}" for share in shares), f"{p99:.2f}"])
    return render(head, rows)


def _compare(measured: dict[str, list[dict[str, Cell]]], bound: list[float] | None) -> list[str]:
    head = ["policy", *map(str, ROWS), "served p99 / target at 1.2: mean, most"]
    rows = [["no policy can do better than", *map(_percent, bound), ""]] if bound else []
    for name, row_cells in measured.items():
        overload = [
            cell.served_p99
            for row, cells in zip(ROWS, row_cells, strict=True)
            if row.load == max(known.load for known in ROWS)
            for cell in cells.values()
        ]
        shares = [_percent(mean(cell.in_target for cell in cells.values())) for cells in row_cells]
        rows.append([name, *shares, f"{mean(overload):.2f}, {max(overload):.2f}"])
    return render(head, rows)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


if __name__ == "__main__":
    main()
