"""A pytest plugin: every test belongs to one tier, tiers run from quick to slow, and the summary says what each did.

A tier that cannot run on this machine is skipped by its fixtures with the reason and the way to get it; the table
at the end repeats each reason once, so that nobody takes a skipped tier for a passed one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Final

import pytest

TIERS: Final = {
    "unit": "pure functions and loopback",
    "runtime": "the real runtime, real models and clients",
    "api": "a real kube-apiserver, etcd and kube-controller-manager",
    "e2e": "a real node: kubelet and containerd run the built images",
}

_seconds: dict[str, float] = defaultdict(float)
_outcomes: dict[str, Counter[str]] = defaultdict(Counter)
_skip_reasons: dict[str, Counter[str]] = defaultdict(Counter)
_LONGEST_FIRST: Final = ("e2e", "unit", "runtime", "api")
"""In lanes side by side: the first lane is busy with e2e for about as long as the others with the rest."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the tiers; a test without a tier, or with two, would escape every `-m` selection or run twice."""
    order = _LONGEST_FIRST if hasattr(config, "workerinput") else tuple(TIERS)
    place: dict[pytest.Item, int] = {}
    for item in items:
        tiers = [tier for tier in TIERS if item.get_closest_marker(tier)]
        if len(tiers) != 1:
            message = f"{item.nodeid}: expected exactly one tier marker of {', '.join(TIERS)}, got {tiers or 'none'}."
            raise pytest.UsageError(f"{message} Set pytestmark in the module.")
        # With the item and not in a table: each report carries it, also out of the process of a lane.
        item.user_properties.append(("tier", tiers[0]))
        place[item] = order.index(tiers[0])
    items.sort(key=place.__getitem__)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    tier = dict(report.user_properties).get("tier")
    if not isinstance(tier, str):
        return
    _seconds[tier] += report.duration
    if report.skipped:
        _outcomes[tier]["skipped"] += 1
        if isinstance(report.longrepr, tuple):
            _skip_reasons[tier][str(report.longrepr[2]).removeprefix("Skipped: ")] += 1
    elif report.failed:
        _outcomes[tier]["failed"] += 1
    elif report.when == "call":
        _outcomes[tier]["passed"] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("tiers")
    for tier, against in TIERS.items():
        outcome = _outcomes.get(tier)
        if outcome is None:
            terminalreporter.line(f"{tier:<8} not selected       ({against})")
            continue
        counts = ", ".join(f"{outcome[name]} {name}" for name in ("passed", "failed", "skipped") if outcome[name])
        terminalreporter.line(f"{tier:<8} {counts} in {_seconds[tier]:.0f} s   ({against})")
        for reason, count in _skip_reasons[tier].items():
            terminalreporter.line(f"{'':<8}   skipped {count}: {reason}")
