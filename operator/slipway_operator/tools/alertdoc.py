"""The reference page of the alerts, from the chart's rules. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

_TEMPLATE: Final = re.compile(r"\{\{ *\$(?:labels\.)?(\w+)[^}]*\}\}")
_TITLES: Final = {
    "slipway-operator": "The operator",
    "slipway-models": "The models",
    "slipway-sla": "Service levels",
}

HEAD: Final = """\
# Alerts

Those of the chart's `files/rules.yaml`, which `monitoring.prometheusRule.enabled` hands to a Prometheus Operator; any
other Prometheus loads the file as it is. [Observability](../observability.md) tells how to choose among them.
"""


def alerts_page(rules: str) -> str:
    """One section for each group, a row for each alert."""
    parts = [HEAD]
    for group in yaml.safe_load(rules)["groups"]:
        parts += [
            f"\n## {_TITLES[group['name']]}\n\n",
            "| Alert | Severity | For | Fires when | What it means, what to do |\n|---|---|---|---|---|\n",
        ]
        parts += [_row(rule) for rule in group["rules"] if "alert" in rule]
    return "".join(parts)


def _row(rule: dict[str, Any]) -> str:
    notes = rule["annotations"]
    cells = (
        f"`{rule['alert']}`",
        rule["labels"]["severity"],
        rule.get("for", "at once"),
        f"`{' '.join(rule['expr'].split())}`",
        _plain(f"{notes['summary']} {notes['description']}"),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _plain(text: str) -> str:
    """With a label's name in the place of its value."""
    return _TEMPLATE.sub(lambda match: match[1].upper(), text)
