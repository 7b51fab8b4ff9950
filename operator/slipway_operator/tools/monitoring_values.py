"""The chart's values for Prometheus, the Prometheus Operator and Grafana. Pure data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from slipway_operator.tools.value_types import Labels, Namespace, Object, Values

Duration = Annotated[str, Field(pattern=r"^([0-9]+(ms|s|m|h))+$")]


class MetricsService(Values):
    """The Service in front of the operator's metrics and probes."""

    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    """Port of the Service."""
    annotations: Labels = {}
    """Annotations of the Service, such as those a Prometheus discovers by."""


class Metrics(Values):
    """The operator's own metrics."""

    objects: Literal["All", "Ready", "None"] = "All"
    """How much each ModelDeployment tells. `All`: 6 series and one for each condition; `Ready`: 6 in all; `None`: only
    counts of all. docs/observability.md has the figures for 2,000."""
    service: MetricsService = MetricsService()
    """Service with `/metrics`, `/healthz` and `/readyz`."""


class ServiceMonitor(Values):
    """Has the Prometheus Operator scrape the operator."""

    enabled: bool = False
    """Make the ServiceMonitor. Needs the CRDs of the Prometheus Operator."""
    labels: Labels = {}
    """Labels by which a Prometheus selects it, such as `release: prometheus`."""
    interval: Duration = "30s"
    """Time between scrapes."""
    scrape_timeout: Duration = "10s"
    """Longest time of a scrape; at most the interval."""


class PodMonitor(Values):
    """Has the Prometheus Operator scrape the pods of all served models."""

    enabled: bool = False
    """Make the PodMonitor. Needs the CRDs of the Prometheus Operator."""
    labels: Labels = {}
    """Labels by which a Prometheus selects it."""
    interval: Duration = "30s"
    """Time between scrapes."""
    scrape_timeout: Duration = "10s"
    """Longest time of a scrape; at most the interval."""
    namespaces: list[Namespace] = []
    """Namespaces of the models. Those of `watchNamespaces` when empty, else all."""


class PrometheusRule(Values):
    """Alerts, and the recording rules they are made of: the chart's files/rules.yaml."""

    enabled: bool = False
    """Make the PrometheusRule. Needs the CRDs of the Prometheus Operator."""
    labels: Labels = {}
    """Labels by which a Prometheus selects it."""
    disabled: list[str] = []
    """Alerts to leave out, by name."""
    alert_labels: Labels = {}
    """Further labels of every alert, such as `team: ml`."""
    runbook_url: str = ""
    """Address of your own page on the alerts. Each alert gets it with its name as the fragment, in `runbook_url`."""


class Dashboards(Values):
    """Grafana dashboards as ConfigMaps, for a sidecar that loads them: the chart's files/dashboards."""

    enabled: bool = False
    """Make a ConfigMap for each dashboard."""
    labels: Labels = {"grafana_dashboard": "1"}
    """Labels by which the sidecar finds them."""
    annotations: Labels = {}
    """Annotations of them, such as the folder that they belong to."""


class Monitoring(Values):
    """What the Prometheus Operator and Grafana are told. All of it is off unless asked for."""

    service_monitor: ServiceMonitor = ServiceMonitor()
    """The operator's metrics."""
    pod_monitor: PodMonitor = PodMonitor()
    """The models' metrics."""
    prometheus_rule: PrometheusRule = PrometheusRule()
    """Alerts."""
    dashboards: Dashboards = Dashboards()
    """Dashboards."""


class NetworkPolicy(Values):
    """Who may reach the operator's pod. The kubelet always may."""

    enabled: bool = False
    """Make the NetworkPolicy. What the operator itself reaches is not restricted."""
    monitors: list[Object] = []
    """Who may read the metrics, as `from` of a NetworkPolicy, such as `[{namespaceSelector: {}}]`. Nobody else may."""
