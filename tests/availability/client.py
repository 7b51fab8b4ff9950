"""The load, as a process of its own in the cluster's network: `python -m tests.availability.client PLAN REPORT`.

Each client asks at its own steady pace whatever happens, until SIGTERM or until enough was asked. A client that was
held up does not make up for it: what counts is whether any request fails, not how many are asked in a second.
"""

from __future__ import annotations

import array
import json
import os
import random
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.availability.askers import Kind, Route, open_asker

FAILURES_LISTED: Final = 200
PROGRESS_SECONDS: Final = 0.5


@dataclass
class Tally:
    """What one client has seen. Written by its own thread alone."""

    route: str
    requests: int = 0
    failed: int = 0
    seconds: array.array[float] = field(default_factory=lambda: array.array("d"))
    failures: list[dict[str, Any]] = field(default_factory=list)


def main(plan_path: Path, report_path: Path) -> None:
    plan = json.loads(plan_path.read_text(encoding="utf-8"))
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    clients = range(plan["clients_per_route"])
    routes = [Route(**given | {"kind": Kind(given["kind"])}) for given in plan["routes"] for _ in clients]
    interval_seconds = len(routes) / plan["requests_per_second"]
    tallies = [Tally(route.name) for route in routes]
    threads = [
        threading.Thread(
            target=ask_steadily,
            args=(route, tally, plan["samples"], interval_seconds, index / len(routes), stopping),
            daemon=True,
        )
        for index, (route, tally) in enumerate(zip(routes, tallies, strict=True))
    ]
    begun, parent = time.monotonic(), os.getppid()
    for thread in threads:
        thread.start()
    while not stopping.wait(PROGRESS_SECONDS):
        write(report_path, tallies, begun, done=False)
        if os.getppid() != parent:
            stopping.set()  # whoever would read the report was killed
    for thread in threads:
        thread.join()
    write(report_path, tallies, begun, done=True)


def ask_steadily(
    route: Route,
    tally: Tally,
    samples: list[dict[str, Any]],
    interval_seconds: float,
    phase: float,
    stopping: threading.Event,
) -> None:
    asker = open_asker(route)
    due = time.monotonic() + phase * interval_seconds
    while not stopping.wait(max(0.0, due - time.monotonic())):
        sample = random.choice(samples)
        began_at, begun = time.time(), time.monotonic()
        cause = ""
        try:
            label = asker.ask(sample["image"])
            if label != sample["label"]:
                cause = f"wrong answer: label {label}, expected {sample['label']}"
        except Exception as error:  # noqa: BLE001 - every way to fail is what this looks for
            cause = f"{type(error).__name__}: {error}"
        took = time.monotonic() - begun
        tally.requests += 1
        tally.seconds.append(took)
        if cause:
            tally.failed += 1
            if len(tally.failures) < FAILURES_LISTED:
                tally.failures.append({"at": began_at, "seconds": round(took, 3), "route": route.name, "cause": cause})
        due = max(due + interval_seconds, time.monotonic())
    asker.close()


def write(path: Path, tallies: list[Tally], begun: float, *, done: bool) -> None:
    """Replaced whole, so that a reader sees the old report or the new one."""
    report = {
        "done": done,
        "elapsed_seconds": round(time.monotonic() - begun, 1),
        "requests": sum(tally.requests for tally in tallies),
        "failed": sum(tally.failed for tally in tallies),
        "failures": sorted((failure for tally in tallies for failure in tally.failures), key=lambda one: one["at"]),
        "routes": {name: summary(name, tallies) for name in dict.fromkeys(tally.route for tally in tallies)}
        if done
        else {},
    }
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(report), encoding="utf-8")
    partial.replace(path)


def summary(name: str, tallies: list[Tally]) -> dict[str, float]:
    seconds = sorted(value for tally in tallies if tally.route == name for value in tally.seconds)

    def quantile(share: float) -> float:
        return round(1000 * seconds[min(len(seconds) - 1, int(share * len(seconds)))], 1) if seconds else 0.0

    return {
        "requests": len(seconds),
        "p50_milliseconds": quantile(0.5),
        "p99_milliseconds": quantile(0.99),
        "slowest_milliseconds": quantile(1.0),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
