"""Prints the comparison as Markdown: python -m tests.simulation [--seconds 30] [--by-hardware]."""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from statistics import mean

from tests.simulation.hardware import HARDWARE
from tests.simulation.rivals import RIVALS
from tests.simulation.study import ROWS, Cell, clairvoyant, measure
from tests.simulation.subject import Efficient, Subject

POLICIES = (*RIVALS, Subject, Efficient)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="simulated time per run")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--by-hardware", action="store_true", help="one table per simulated hardware as well")
    arguments = parser.parse_args()
    with ProcessPoolExecutor(arguments.processes) as pool:
        measured = {
            policy.name: list(pool.map(partial(measure, policy, seconds=arguments.seconds), ROWS))
            for policy in POLICIES
        }
        bound = list(pool.map(partial(clairvoyant, seconds=arguments.seconds), ROWS))
    print("Percent of offered requests answered within the target, mean of all hardware.\n")
    _print_table(measured, bound)
    if arguments.by_hardware:
        for name, hardware in HARDWARE.items():
            print(f"\n{name}: {hardware.name}, target {hardware.target_seconds * 1000:.0f} ms.\n")
            own = {policy: [{name: cells[name]} for cells in rows] for policy, rows in measured.items()}
            _print_table(own, None)


def _print_table(measured: dict[str, list[dict[str, Cell]]], bound: list[float] | None) -> None:
    print("| policy | " + " | ".join(map(str, ROWS)) + " | served p99 / target at 1.2: mean, most |")
    print("|---|" + "---:|" * (len(ROWS) + 1))
    if bound:
        print("| no policy can do better than | " + " | ".join(f"{100 * value:.1f}" for value in bound) + " | |")
    for name, row_cells in measured.items():
        overload = [
            cell.served_p99
            for row, cells in zip(ROWS, row_cells, strict=True)
            if row.load == max(known.load for known in ROWS)
            for cell in cells.values()
        ]
        shares = " | ".join(f"{100 * mean(cell.in_target for cell in cells.values()):.1f}" for cells in row_cells)
        print(f"| {name} | {shares} | {mean(overload):.2f}, {max(overload):.2f} |")


if __name__ == "__main__":
    main()
