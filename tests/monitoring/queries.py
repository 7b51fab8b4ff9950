"""Every query of the chart's rules and dashboards, and the metrics and labels that each names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import promql_parser
import yaml

FILES: Final = Path(__file__).parents[2] / "charts" / "slipway" / "files"
RULES: Final = FILES / "rules.yaml"

_GRAFANA: Final = {"$__rate_interval": "5m", "$namespace": ".*", "$modeldeployment": ".*"}


@dataclass(frozen=True)
class Query:
    """`where` is for people. Grafana's variables are replaced by what stands for everything."""

    where: str
    expr: str

    def __str__(self) -> str:
        return self.where


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def dashboards() -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in sorted((FILES / "dashboards").glob("*.json"))}


def rule_queries() -> list[Query]:
    return [Query(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()]


def dashboard_queries() -> list[Query]:
    return [
        Query(f"{name}: {panel['title']} {target['refId']}", _plain(target["expr"]))
        for name, dashboard in dashboards().items()
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    ]


def variable_queries() -> list[Query]:
    """The selectors inside `label_values(SELECTOR, LABEL)`."""
    found = []
    for name, dashboard in dashboards().items():
        for variable in dashboard["templating"]["list"]:
            match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable.get("definition", ""))
            if match:
                found.append(Query(f"{name}: ${variable['name']}", f"group by ({match[2]}) ({_plain(match[1])})"))
    return found


def _plain(expr: str) -> str:
    for variable, value in _GRAFANA.items():
        expr = expr.replace(variable, value)
    return expr


def selectors(expr: str) -> list[tuple[str, set[str]]]:
    """Each metric that the query names, with the labels that it is chosen by."""
    found: list[tuple[str, set[str]]] = []

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            assert node.name, f"a selector without a name: {expr}"
            found.append((node.name, {matcher.name for matcher in node.matchers.matchers}))

    promql_parser.walk(promql_parser.parse(expr), visit)
    return found


def grouped_by(expr: str) -> set[str]:
    """Labels that the query aggregates or joins by."""
    return set(_labels(expr))


def _labels(expr: str) -> Iterator[str]:
    for names in re.findall(r"\b(?:by|on|group_left) \(([^()]*)\)", " ".join(expr.split())):
        yield from (name.strip() for name in names.split(",") if name.strip())
