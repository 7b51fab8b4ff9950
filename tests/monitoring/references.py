"""The metrics that exist, as the generated reference pages list them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

PAGES: Final = Path(__file__).parents[2] / "docs" / "reference"
_ROW: Final = re.compile(r"^\| `(?P<name>\w+)` \| (?P<kind>\w+) \| (?P<labels>[^|]*) \|", re.MULTILINE)
_PARTS: Final = {"histogram": ("_bucket", "_sum", "_count")}

PROCESS: Final = {"process_cpu_seconds_total", "process_resident_memory_bytes"}
"""Of the client library; the pages name the family only."""

OF_TARGETS: Final = {"namespace", "pod", "job", "instance", "modeldeployment"}
"""Labels that a scrape adds: those of Prometheus' Kubernetes discovery, and what the chart's PodMonitor sets."""


def known() -> dict[str, set[str]]:
    """Labels by the name of each series, `_bucket` and the like included."""
    found = {}
    for page in ("operator-metrics.md", "runtime-metrics.md"):
        for row in _ROW.finditer((PAGES / page).read_text()):
            labels = set(re.findall(r"`(\w+)`", row["labels"]))
            for part in _PARTS.get(row["kind"], ("",)):
                found[row["name"] + part] = labels | ({"le"} if part == "_bucket" else set())
    return found | {name: set() for name in PROCESS}
