"""What a run of `make scale` has found is judged and shown as it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.scale import samples
from tests.scale.figures import Figures, growth_row, missed, table
from tests.scale.page import updated

pytestmark = pytest.mark.unit

GOOD = Figures(
    objects=2000,
    writes_per_second=50,
    sweep_seconds=300,
    converged_seconds=330,
    creation_seconds=20,
    writes={"deployments": 2000, "events": 4000, "modeldeployments": 4000, "services": 6000},
    server_applies=12000,
    operator_applies=12000,
    rest_cpu_percent=1.0,
    sweep_cpu_seconds=6.0,
    family_mib=150,
    sweeps=3,
)
PAGE = "prose\n<!-- figures: begin -->\nold\n<!-- figures: end -->\n<!-- growth: begin -->\n<!-- growth: end -->\nend\n"


def test_a_run_within_its_budgets_is_not_blamed() -> None:
    assert missed(GOOD) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"sweep_cpu_seconds": 12.1}, "of a core"),
        ({"family_mib": 200.0}, "MiB"),
        ({"rest_writes": 1}, "at rest"),
        ({"sweep_writes": 1}, "sweeps"),
        ({"sweeps": 0}, "no sweep"),
        ({"restart_writes": 1}, "restart"),
        ({"takeover_writes": 1}, "take-over"),
        ({"converged_seconds": 450.0}, "write rate"),
        ({"writes": {"events": 26_000}, "converged_seconds": 520.0}, "writes for each object"),
        ({"server_applies": 11_999}, "API server"),
    ],
)
def test_each_missed_budget_is_told(change: dict[str, object], word: str) -> None:
    told = missed(replace(GOOD, **change))  # type: ignore[arg-type]
    assert len(told) == 1
    assert word in told[0]


def test_a_run_replaces_its_own_figures_and_leaves_the_prose_and_other_rows() -> None:
    page = updated(PAGE, replace(GOOD, objects=500), "a machine")
    assert "old" in page
    page = updated(page, GOOD, "a machine")
    assert "old" not in page
    assert table(GOOD) in page
    assert page.index(growth_row(replace(GOOD, objects=500))) < page.index(growth_row(GOOD))
    assert updated(page, GOOD, "a machine") == page
    assert page.startswith("prose\n")
    assert page.endswith("end\n")


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="growth: begin"):
        updated("prose", replace(GOOD, objects=500), "a machine")


def test_writes_are_read_from_the_operators_metrics_without_those_to_its_lease() -> None:
    text = (
        'slipway_operator_api_requests_total{code="200",resource="services",verb="PATCH"} 3.0\n'
        'slipway_operator_api_requests_total{code="200",resource="services",verb="GET"} 9.0\n'
        'slipway_operator_api_requests_total{code="200",resource="leases",verb="PUT"} 5.0\n'
        'slipway_operator_api_requests_total{code="201",resource="events",verb="POST"} 2.0\n'
    )
    assert samples.writes_by_resource(text) == {"services": 3, "events": 2}


def test_percentiles_are_of_the_nearest_rank() -> None:
    values = [float(number) for number in range(1, 101)]
    assert samples.percentile(values, 0.50) == 50
    assert samples.percentile(values, 0.95) == 95
    assert samples.percentile([7.0], 0.95) == 7
