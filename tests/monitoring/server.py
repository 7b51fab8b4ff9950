"""A real Prometheus with the chart's rules, on a free port of loopback."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.ports import free_port
from tests.fixtures.waiting import POLL_SECONDS, WAIT_SECONDS
from tests.monitoring import programs
from tests.monitoring.queries import RULES


@dataclass(frozen=True)
class Target:
    """What is scraped, with the labels that the chart's monitors would give it."""

    address: str
    labels: dict[str, str]


class Prometheus:
    """Scrapes every second; started by the constructor, ready after `wait_until_ready`."""

    def __init__(self, folder: Path, targets: list[Target]) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log = folder / "prometheus.log"
        configuration = folder / "prometheus.json"
        configuration.write_text(json.dumps(_configuration(targets)))
        command = [
            str(programs.ensure().prometheus),
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--enable-feature=exemplar-storage",
            f"--web.listen-address={self.url.removeprefix('http://')}",
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def get(self, path: str, **query: str) -> Any:
        """The answer's data; a refusal is raised with Prometheus' own words."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(error.read().decode()) from error

    def samples(self, expr: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("query", query=expr)["result"]
        return found

    def wait_until_ready(self) -> Prometheus:
        """Returns once every target has been scraped."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not self._all_up():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, f"{self._errors()}\n{self.log.read_text()}"
            time.sleep(POLL_SECONDS)
        return self

    def _all_up(self) -> bool:
        try:
            targets = self.get("targets")["activeTargets"]
        except (OSError, ValueError):
            # It listens before it is ready, and answers 503 meanwhile.
            return False
        # One that is down was perhaps too slow for one look, which takes a second at most.
        return bool(targets) and all(target["health"] == "up" for target in targets)

    def _errors(self) -> list[str]:
        """Of the last look at each target; empty where it went well."""
        return [target["lastError"] for target in self.get("targets")["activeTargets"]]


def _configuration(targets: list[Target]) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {
                "job_name": target.labels["job"],
                "honor_labels": True,
                "static_configs": [{"targets": [target.address], "labels": target.labels}],
            }
            for target in targets
        ],
    }
