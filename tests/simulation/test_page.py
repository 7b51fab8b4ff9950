"""The tables of docs/batching.md are what the code gives, and hold what the scheduler is held to."""

from __future__ import annotations

from statistics import mean

import pytest

from tests.simulation.__main__ import DRIFT_SEEDS, POLICIES
from tests.simulation.hardware import HARDWARE
from tests.simulation.page import PAGE, read_table, render, replace_table
from tests.simulation.rivals import RIVALS, BoundedQueue, Queue
from tests.simulation.study import ROWS, Row, drifted, measure
from tests.simulation.subject import Subject

pytestmark = pytest.mark.unit

HELD_SERVED_P99 = 1.02
ROUNDED = 0.051
"""Of a percentage with one digit, and for another machine's last bits."""


@pytest.fixture(scope="module")
def published() -> dict[str, dict[str, str]]:
    return read_table(PAGE.read_text(), "policies")


@pytest.mark.parametrize("policy", [Subject, BoundedQueue])
def test_the_figures_of_the_page_are_the_simulators(
    policy: type[Queue | Subject], published: dict[str, dict[str, str]]
) -> None:
    """One column of two policies: all of them take minutes."""
    cells = measure(policy, Row("Poisson", 1.2), 30.0)
    in_target = 100 * mean(cell.in_target for cell in cells.values())
    assert float(published[policy.name]["Poisson 1.2"]) == pytest.approx(in_target, abs=ROUNDED)


def test_the_page_has_every_policy_and_row(published: dict[str, dict[str, str]]) -> None:
    assert {policy.name for policy in POLICIES} | {"no policy can do better than"} == set(published)
    assert all({str(row) for row in ROWS} < set(cells) for cells in published.values())


def test_the_published_means_are_ahead_of_every_other_policy_in_every_row(published: dict[str, dict[str, str]]) -> None:
    ours = published[Subject.name]
    assert float(ours["Poisson 0.95"]) >= 94
    assert float(ours["served p99 / target at 1.2: mean, most"].split(", ")[1]) <= HELD_SERVED_P99
    for rival in RIVALS:
        for row in map(str, ROWS):
            assert float(ours[row]) >= float(published[rival.name][row]), (rival.name, row)


def test_the_published_slow_down_is_the_simulators() -> None:
    published = read_table(PAGE.read_text(), "drift")
    found = [drifted(Subject, HARDWARE["gpu"], seed) for seed in DRIFT_SEEDS]
    assert float(published[Subject.name]["later"]) == pytest.approx(100 * mean(one.after for one in found), abs=ROUNDED)
    assert {policy.name for policy in POLICIES} == set(published)
    ours = published[Subject.name]
    assert float(ours["served p99 / target, later"]) <= HELD_SERVED_P99
    for rival in RIVALS:
        theirs = published[rival.name]
        assert float(ours["first 3 s after"]) >= float(theirs["first 3 s after"])
        breaks = float(theirs["served p99 / target, later"]) > HELD_SERVED_P99
        assert breaks or float(ours["later"]) >= float(theirs["later"]), rival.name


def test_a_table_is_written_between_its_marks_and_nowhere_else() -> None:
    lines = render(["policy", "load"], [["greedy", "1.0"]])
    page = "before\n<!-- policies: begin -->\nold\n<!-- policies: end -->\nafter"
    written = replace_table(page, "policies", lines)
    assert read_table(written, "policies") == {"greedy": {"load": "1.0"}}
    assert written.startswith("before\n")
    assert written.endswith("\nafter")
    assert "old" not in written
    assert replace_table(page, "drift", lines) == page
