"""What the chart has for Prometheus and Grafana, as helm renders it, without a cluster."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from slipway_operator import settings
from slipway_operator.api.v1alpha1 import ModelDeploymentSpec
from slipway_operator.names import ADMIN_PORT_NAME, INFERENCE_PORT_NAME, MODEL_LABEL, child_labels
from slipway_operator.render.custom import scrape_annotations
from tests.fixtures.helm import Document, Helm, environment, of_kind, rendered

pytestmark = pytest.mark.unit

CHART: Final = Path(__file__).parents[2] / "charts" / "slipway"


@pytest.fixture
def helm(offline_helm: Helm) -> Helm:
    return offline_helm


MONITORING: Final = {
    "serviceMonitor": {"enabled": True},
    "podMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "dashboards": {"enabled": True},
}
MONITORING_KINDS: Final = ("ServiceMonitor", "PodMonitor", "PrometheusRule")


def monitored(helm: Helm, **values: Any) -> list[Document]:
    """As on a cluster that has the CRDs of the Prometheus Operator."""
    flags = ("--api-versions", "monitoring.coreos.com/v1")
    return rendered(helm, flags=flags, **values)


def test_nothing_is_made_for_prometheus_and_grafana_unless_it_is_asked_for(helm: Helm) -> None:
    documents = monitored(helm)
    assert not [document for document in documents if document["kind"] in (*MONITORING_KINDS, "ConfigMap")]
    assert of_kind(documents, "NetworkPolicy") == []


@pytest.mark.parametrize("name", ["serviceMonitor", "podMonitor", "prometheusRule"])
def test_what_needs_the_prometheus_operator_is_refused_without_its_crds_with_the_way_out(helm: Helm, name: str) -> None:
    with pytest.raises(ValueError, match=rf"monitoring\.{name}\.enabled: is true") as caught:
        rendered(helm, monitoring={name: {"enabled": True}})
    assert "Install the CRDs of the Prometheus Operator first, or set it to false" in str(caught.value)
    assert "--api-versions monitoring.coreos.com/v1" in str(caught.value)


def test_dashboards_need_no_crds_and_are_valid_json(helm: Helm) -> None:
    maps = of_kind(rendered(helm, monitoring={"dashboards": {"enabled": True}}), "ConfigMap")
    assert [item["metadata"]["name"] for item in maps] == ["slipway-dashboard-models", "slipway-dashboard-operator"]
    for item in maps:
        assert item["metadata"]["labels"]["grafana_dashboard"] == "1"
        ((name, text),) = item["data"].items()
        assert json.loads(text) == json.loads((CHART / "files/dashboards" / name.removeprefix("slipway-")).read_text())


def test_the_monitors_select_the_operators_service_and_the_models_pods(helm: Helm) -> None:
    documents = monitored(helm, monitoring=MONITORING)
    (monitor,) = of_kind(documents, "ServiceMonitor")
    (service,) = of_kind(documents, "Service")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["honorLabels"], "else the namespace of a model would be the operator's"
    (pods,) = of_kind(documents, "PodMonitor")
    assert pods["spec"]["selector"]["matchLabels"].items() <= child_labels("digits").items()
    assert pods["spec"]["namespaceSelector"] == {"any": True}
    own, custom = pods["spec"]["podMetricsEndpoints"]
    assert (own["port"], custom["port"]) == (ADMIN_PORT_NAME, INFERENCE_PORT_NAME)
    for endpoint in (own, custom):
        assert {"sourceLabels": [POD_LABEL], "targetLabel": "modeldeployment"} in endpoint["relabelings"]
    # Of the runtime's own pods the inference port tells nothing: only who says so is asked there.
    scrape = custom["relabelings"][0]
    assert (scrape["sourceLabels"], scrape["regex"], scrape["action"]) == ([_annotation("scrape")], "true", "keep")
    assert {"sourceLabels": [_annotation("path")], "targetLabel": "__metrics_path__"} in custom["relabelings"]


def _annotation(word: str) -> str:
    """As Prometheus' discovery names an annotation that the operator puts on pods of engine Custom."""
    spec = ModelDeploymentSpec.model_validate(
        {
            "artifact": {"uri": "s3://models/a.bin"},
            "runtime": {"engine": "Custom", "image": "r.example.com/a:1", "container": {"metricsPath": "/stats"}},
        }
    )
    (name,) = (name for name in scrape_annotations(spec) if name.endswith(f"/{word}"))
    return "__meta_kubernetes_pod_annotation_" + re.sub(r"\W", "_", name)


POD_LABEL: Final = "__meta_kubernetes_pod_label_" + re.sub(r"\W", "_", MODEL_LABEL)


@pytest.mark.parametrize(
    ("values", "namespaces"),
    [
        ({"watchNamespaces": ["a", "b", "a"], "monitoring": MONITORING}, ["a", "b"]),
        ({"monitoring": {"podMonitor": {"enabled": True, "namespaces": ["c"]}}, "watchNamespaces": ["a"]}, ["c"]),
    ],
)
def test_models_are_scraped_where_the_operator_serves_them(helm: Helm, values: Document, namespaces: list[str]) -> None:
    (pods,) = of_kind(monitored(helm, **values), "PodMonitor")
    assert pods["spec"]["namespaceSelector"] == {"matchNames": namespaces}


def test_the_prometheus_rule_is_the_file_but_for_what_was_asked(helm: Helm) -> None:
    file = yaml.safe_load((CHART / "files" / "rules.yaml").read_text())
    (rule,) = of_kind(monitored(helm, monitoring=MONITORING), "PrometheusRule")
    assert rule["spec"]["groups"] == file["groups"]
    asked = {
        "enabled": True,
        "labels": {"release": "prometheus"},
        "disabled": ["SlipwayOperatorDown"],
        "alertLabels": {"team": "ml", "severity": "info"},
        "runbookUrl": "https://wiki.example.com/slipway",
    }
    (rule,) = of_kind(monitored(helm, monitoring={"prometheusRule": asked}), "PrometheusRule")
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    alerts = {item["alert"]: item for group in rule["spec"]["groups"] for item in group["rules"] if "alert" in item}
    assert "SlipwayOperatorDown" not in alerts
    fault = alerts["SlipwayOperatorFault"]
    assert fault["labels"] == {"team": "ml", "severity": "info"}
    assert fault["annotations"]["runbook_url"] == "https://wiki.example.com/slipway#slipwayoperatorfault"
    assert "{{ $labels.namespace }}" in fault["annotations"]["summary"], "the braces are Prometheus' own"


def test_an_alert_that_does_not_exist_cannot_be_left_out(helm: Helm) -> None:
    values = {"prometheusRule": {"enabled": True, "disabled": ["SlipwayDown"]}}
    with pytest.raises(ValueError, match=r'monitoring\.prometheusRule\.disabled: got "SlipwayDown", expected names'):
        monitored(helm, monitoring=values)


def test_the_network_policy_lets_in_the_chart_test_and_the_monitors_and_nobody_else(helm: Helm) -> None:
    peer = {"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}
    documents = rendered(helm, networkPolicy={"enabled": True, "monitors": [peer]})
    (policy,) = of_kind(documents, "NetworkPolicy")
    (deployment,) = of_kind(documents, "Deployment")
    (pod,) = of_kind(documents, "Pod")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    (rule,) = policy["spec"]["ingress"]
    test, monitor = rule["from"]
    assert test["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert monitor == peer
    assert rule["ports"] == [{"port": "http"}]


@pytest.mark.parametrize("detail", ["All", "Ready", "None"])
def test_how_much_objects_tell_is_a_value(helm: Helm, detail: str) -> None:
    found = settings.from_environment(environment(rendered(helm, metrics={"objects": detail})))
    assert found.object_metrics == detail
