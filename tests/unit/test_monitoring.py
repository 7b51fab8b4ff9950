"""Alerts and dashboards name only metrics and labels that exist, and say what to do."""

from __future__ import annotations

import json
import re

import pytest

from slipway_operator.api.reasons import ConditionType, Reason
from slipway_operator.metrics import Metrics
from slipway_operator.tools.dashboards import Dashboard, Panel, Query, Row, to_json
from tests.monitoring import queries, references

pytestmark = pytest.mark.unit

ALL = [*queries.rule_queries(), *queries.dashboard_queries(), *queries.variable_queries()]
RECORDED = {rule["record"] for rule in queries.rules() if "record" in rule}
ALERTS = [rule for rule in queries.rules() if "alert" in rule]


def test_there_are_queries_to_judge() -> None:
    assert len(queries.rule_queries()) > 25
    assert len(queries.dashboard_queries()) > 40
    assert len(queries.variable_queries()) == 3


@pytest.mark.parametrize("query", ALL, ids=str)
def test_every_query_names_metrics_and_labels_that_the_reference_lists(query: queries.Query) -> None:
    known = references.known()
    named = queries.selectors(query.expr)
    assert named or query.expr.startswith("vector("), "a query without a metric shows nothing"
    labels: set[str] = set()
    for metric, chosen_by in named:
        assert metric in known or metric in RECORDED, f"{metric} does not exist"
        has = known.get(metric, {"objective"}) | references.OF_TARGETS
        assert chosen_by <= has, f"{metric} has no label {', '.join(chosen_by - has)}"
        labels |= has
    assert queries.grouped_by(query.expr) <= labels


@pytest.mark.parametrize("query", ALL, ids=str)
def test_every_condition_and_reason_in_a_query_is_a_word_that_a_status_can_say(query: queries.Query) -> None:
    for label, known in (("condition", ConditionType), ("reason", Reason)):
        for values in re.findall(rf'\b{label}!?=~?"([^"]*)"', query.expr):
            assert set(values.split("|")) <= {str(word) for word in known}


def test_a_metric_that_does_not_exist_would_be_found() -> None:
    assert queries.selectors('sum by (a) (rate(no_such_total{reason="x"}[5m])) / on (b) other') == [
        ("no_such_total", {"reason"}),
        ("other", set()),
    ]
    assert queries.grouped_by("sum by (a, b) (x) and on (c)\n (y) / group_left (d) z") == {"a", "b", "c", "d"}
    assert "no_such_total" not in references.known()


def test_the_process_metrics_exist_under_these_names() -> None:
    text = Metrics().text().decode()
    assert all(f"\n{name} " in text for name in references.PROCESS)


def test_no_alert_looks_at_a_histogram_without_its_parts() -> None:
    assert "slipway_operator_reconcile_duration_seconds" not in references.known()
    assert references.known()["slipway_operator_reconcile_duration_seconds_bucket"] == {"result", "le"}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_every_alert_says_how_bad_it_is_what_happened_and_what_to_do(rule: dict[str, dict[str, str]]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "description"}
    shown = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    grouped = queries.grouped_by(str(rule["expr"]))
    recorded = {"namespace", "modeldeployment", "objective"} if "slipway:" in str(rule["expr"]) else set()
    assert shown <= grouped | recorded, "a label that the query drops would be shown as nothing"
    assert rule["annotations"]["summary"].endswith(".")


def test_names_of_alerts_are_unique() -> None:
    names = [str(rule["alert"]) for rule in ALERTS]
    assert len(set(names)) == len(names)
    assert all(name.startswith("Slipway") for name in names)


@pytest.mark.parametrize("name", ["operator", "models"])
def test_panels_of_a_dashboard_neither_overlap_nor_share_an_id(name: str) -> None:
    panels = queries.dashboards()[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_a_table_asks_for_the_present_and_a_graph_for_a_range() -> None:
    rows = (Row("r", (Panel("t", (Query("up"),), kind="table"), Panel("g", (Query("up", "{{job}}"),)))),)
    text = to_json(Dashboard("u", "T", (), rows))
    table, graph = (target for panel in _panels(text) for target in panel.get("targets", ()))
    assert (table["instant"], table["range"], table["format"]) == (True, False, "table")
    assert (graph["instant"], graph["range"], graph["legendFormat"]) == (False, True, "{{job}}")


def _panels(text: str) -> list[dict[str, list[dict[str, object]]]]:
    panels: list[dict[str, list[dict[str, object]]]] = json.loads(text)["panels"]
    return panels
