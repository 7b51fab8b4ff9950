"""The CustomResourceDefinitions of the Prometheus Operator that the chart has objects for."""

from __future__ import annotations

from typing import Any, Final

from tests.cluster.published_crds import PublishedCrds

API_VERSION: Final = "monitoring.coreos.com/v1"

_CRDS: Final = PublishedCrds(
    "prometheus-operator",
    "github.com/prometheus-operator/prometheus-operator",
    "example/prometheus-operator-crd",
    "monitoring.coreos.com",
    ("servicemonitors", "podmonitors", "prometheusrules"),
)


def crds() -> list[dict[str, Any]]:
    return _CRDS.load()
