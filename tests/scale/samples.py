"""Numbers out of Prometheus' text exposition format."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

_SAMPLE: Final = re.compile(r"^(?P<name>[A-Za-z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

WRITE_VERBS: Final = frozenset({"PATCH", "POST", "PUT", "DELETE", "APPLY", "DELETECOLLECTION"})


def samples(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    return [
        (dict(_LABEL.findall(match["labels"] or "")), float(match["value"]))
        for match in _SAMPLE.finditer(text)
        if match["name"] == name
    ]


def value(text: str, name: str) -> float:
    return sum(number for _, number in samples(text, name))


def writes_by_resource(text: str) -> Counter[str]:
    """Of the operator's own metrics: writes sent to the API server since its start, those to its own Lease aside."""
    found: Counter[str] = Counter()
    for labels, number in samples(text, "slipway_operator_api_requests_total"):
        if labels["verb"] in WRITE_VERBS and labels["resource"] != "leases":
            found[labels["resource"]] += int(number)
    return found


def applies(text: str) -> int:
    """Of the API server's metrics: server-side applies that it has answered; only the operator sends any here."""
    return int(
        sum(number for labels, number in samples(text, "apiserver_request_total") if labels.get("verb") == "APPLY")
    )


def percentile(values: list[float], share: float) -> float:
    """The nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, -(-len(ordered) * int(share * 100) // 100) - 1))]
