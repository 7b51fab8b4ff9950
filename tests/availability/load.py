"""Start the load in a node's network, ask how it fares, and end it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.availability.askers import Route
from tests.cluster.lifecycle import Cluster
from tests.cluster.process import netns_prefix

REPOSITORY: Final = Path(__file__).parents[2]
START_SECONDS: Final = 30
STOP_SECONDS: Final = 60
"""Longer than any request may take."""


@dataclass(frozen=True)
class Plan:
    routes: Sequence[Route]
    samples: Sequence[dict[str, Any]]
    """Images and the labels that the model gives them."""
    requests_per_second: float
    clients_per_route: int = 4
    """Each asks no faster than it is answered: fewer would not keep the pace on a busy machine."""


@dataclass
class Load:
    """A load that runs. What is done meanwhile is noted, so that a failed request is told with its occasion."""

    process: subprocess.Popen[bytes]
    report_path: Path
    log: Path
    occasions: list[tuple[str, float, float]] = field(default_factory=list)
    """What was done, from when to when."""

    @contextmanager
    def during(self, occasion: str) -> Iterator[None]:
        began_at = time.time()
        try:
            yield
        finally:
            self.occasions.append((occasion, began_at, time.time()))

    def report(self) -> dict[str, Any]:
        assert self.process.poll() in (None, 0), f"the load ended:\n{self.log.read_text()[-4000:]}"
        found: dict[str, Any] = json.loads(self.report_path.read_text(encoding="utf-8"))
        return found

    def stop(self) -> dict[str, Any]:
        """The whole report, after the last answer."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(STOP_SECONDS)
        report = self.report()
        assert report["done"], f"the load was cut off:\n{self.log.read_text()[-4000:]}"
        return report

    def explain(self, failures: Sequence[dict[str, Any]]) -> str:
        """One line for each failure: when, by which way, for what cause, and what was going on."""
        done = [f"{_clock(begin)} to {_clock(end)}: {name}" for name, begin, end in self.occasions]
        failed = [
            f"{_clock(one['at'])} {one['route']} after {one['seconds']} s, {self._occasion(one['at'])}: {one['cause']}"
            for one in failures
        ]
        return "\n".join(["What was done:", *done, "What failed:", *failed])

    def _occasion(self, at: float) -> str:
        return next((name for name, begin, end in self.occasions if begin <= at <= end), "between")


@contextmanager
def running(cluster: Cluster, plan: Plan, directory: Path) -> Iterator[Load]:
    """In the first node's network namespace; returns once requests are being answered."""
    assert cluster.state is not None
    paths = {name: directory / name for name in ("plan.json", "report.json", "client.log")}
    paths["plan.json"].write_text(json.dumps(asdict(plan)), encoding="utf-8")
    command = [*netns_prefix(cluster.state.netns), sys.executable, "-m", "tests.availability.client"]
    with paths["client.log"].open("wb") as log:
        process = subprocess.Popen(
            [*command, str(paths["plan.json"]), str(paths["report.json"])], cwd=REPOSITORY, stdout=log, stderr=log
        )
    load = Load(process, paths["report.json"], paths["client.log"])
    try:
        deadline = time.monotonic() + START_SECONDS
        while not paths["report.json"].exists() or not load.report()["requests"]:
            assert time.monotonic() < deadline, f"no request was made:\n{paths['client.log'].read_text()[-4000:]}"
            time.sleep(0.2)
        early = load.report()
        assert not early["failed"], f"requests fail before anything is done: {early['failures'][:3]}"
        yield load
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-3]
