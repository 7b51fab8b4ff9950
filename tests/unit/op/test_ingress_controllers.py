"""What is written on an Ingress and its Service for each controller, and for whom nothing is."""

from __future__ import annotations

from typing import Any, Final

import pytest

from slipway_operator.api.v1alpha1 import ModelDeploymentSpec
from slipway_operator.render.children import render_children
from slipway_operator.render.ingress_controllers import CLASSES, CONTROLLERS, ProxyAnnotations, proxy_annotations
from slipway_operator.render.manifest import Owner, RenderSettings
from slipway_operator.tools.chart_values import IngressController

pytestmark = pytest.mark.unit

SETTINGS: Final = RenderSettings(
    "registry.example.com/runtime:1", ingress_classes=(("inner", "nginx"), ("traefik", "none"), ("nginx", "traefik"))
)
PLAIN: Final = RenderSettings("registry.example.com/runtime:1")


def annotations(
    class_name: str | None,
    settings: RenderSettings = PLAIN,
    *,
    tls: bool = False,
    service: str = "ClusterIP",
    **more: Any,
) -> ProxyAnnotations:
    """For 4 MiB and 90 seconds."""
    traffic = {"requestTimeoutSeconds": 90, "maxRequestBytes": 4 * 1024**2}
    ingress = {"className": class_name} if class_name else {}
    exposure = {"ingress": ingress | more, "service": {"type": service, "port": 8000}}
    given = {
        "artifact": {"uri": "s3://m/d.pt"},
        "exposure": exposure,
        "traffic": traffic | ({"tls": {"secretName": "tls"}} if tls else {}),
    }
    return proxy_annotations("digits", ModelDeploymentSpec.model_validate(given), settings)


def test_both_controllers_of_the_class_nginx_are_told_in_their_own_words() -> None:
    assert annotations("nginx").ingress == {
        "nginx.ingress.kubernetes.io/proxy-body-size": "4194304",
        "nginx.ingress.kubernetes.io/proxy-read-timeout": "95",
        "nginx.ingress.kubernetes.io/proxy-send-timeout": "95",
        "nginx.org/client-max-body-size": "4194304",
        "nginx.org/proxy-read-timeout": "95s",
        "nginx.org/proxy-send-timeout": "95s",
    }


def test_a_smaller_body_from_outside_is_what_the_controller_is_told() -> None:
    assert annotations("nginx", maxBodyBytes=1000).ingress["nginx.ingress.kubernetes.io/proxy-body-size"] == "1000"


def test_a_proxy_waits_longer_than_the_runtime_answers() -> None:
    assert annotations("contour").ingress == {"projectcontour.io/response-timeout": "95s"}
    assert annotations("azure-application-gateway").ingress == {"appgw.ingress.kubernetes.io/request-timeout": "95"}
    assert annotations("openshift-default").ingress == {"haproxy.router.openshift.io/timeout": "95s"}
    assert annotations("haproxy").ingress == {
        "haproxy.org/timeout-server": "95s",
        "haproxy-ingress.github.io/timeout-server": "95s",
        "haproxy-ingress.github.io/proxy-body-size": "4194304",
    }


def test_kong_reads_the_service() -> None:
    found = annotations("kong")
    assert found.ingress == {}
    assert found.service == {"konghq.com/read-timeout": "95000", "konghq.com/write-timeout": "95000"}


def test_an_alb_reaches_pods_without_node_ports_and_asks_whether_they_are_ready() -> None:
    prefix = "alb.ingress.kubernetes.io"
    assert annotations("alb").ingress == {
        f"{prefix}/healthcheck-path": "/v2/health/ready",
        f"{prefix}/target-type": "ip",
        f"{prefix}/load-balancer-attributes": "idle_timeout.timeout_seconds=95",
    }
    assert f"{prefix}/target-type" not in annotations("alb", service="NodePort").ingress
    served = {"engine": "Custom", "image": "own:1", "container": {"readinessPath": "/ping"}}
    given = {"artifact": {"uri": "s3://m/d.pt"}, "runtime": served, "exposure": {"ingress": {"className": "alb"}}}
    found = proxy_annotations("digits", ModelDeploymentSpec.model_validate(given), PLAIN)
    assert found.ingress[f"{prefix}/healthcheck-path"] == "/ping"
    grouped = annotations("alb", annotations={f"{prefix}/group.name": "shared"}).ingress
    assert f"{prefix}/load-balancer-attributes" not in grouped


@pytest.mark.parametrize(
    ("class_name", "ingress", "service"),
    [
        ("nginx", "nginx.ingress.kubernetes.io/backend-protocol", None),
        ("nginx", "nginx.org/ssl-services", None),
        ("haproxy", "haproxy.org/server-ssl", None),
        ("haproxy", "haproxy-ingress.github.io/backend-protocol", None),
        ("traefik", None, "traefik.ingress.kubernetes.io/service.serversscheme"),
        ("contour", None, "projectcontour.io/upstream-protocol.tls"),
        ("kong", None, "konghq.com/protocol"),
        ("alb", "alb.ingress.kubernetes.io/backend-protocol", None),
        ("azure-application-gateway", "appgw.ingress.kubernetes.io/backend-protocol", None),
    ],
)
def test_https_up_to_the_pods_is_told_where_it_is_asked_for_and_only_there(
    class_name: str, ingress: str | None, service: str | None
) -> None:
    plain, encrypted = annotations(class_name), annotations(class_name, tls=True)
    for name, before, after in (
        (ingress, plain.ingress, encrypted.ingress),
        (service, plain.service, encrypted.service),
    ):
        assert name is None or (name in after and name not in before)


def test_nothing_is_written_for_a_class_that_nobody_knows() -> None:
    nothing = ProxyAnnotations({}, {})
    assert annotations("gce") == nothing
    assert annotations(None) == nothing
    assert annotations("inner") == nothing


def test_the_installation_tells_who_serves_a_class() -> None:
    assert annotations("inner", SETTINGS) == annotations("nginx")
    assert annotations("nginx", SETTINGS) == annotations("traefik")
    assert annotations("traefik", SETTINGS, tls=True) == ProxyAnnotations({}, {})
    default = RenderSettings("image", default_ingress_class="nginx")
    assert annotations(None, default) == annotations("nginx")
    assert annotations("contour", default) == annotations("contour")


def test_the_users_own_annotation_wins() -> None:
    given = {
        "artifact": {"uri": "s3://m/d.pt"},
        "exposure": {
            "ingress": {
                "className": "kong",
                "annotations": {"example.com/own": "1"},
            },
            "service": {"annotations": {"konghq.com/read-timeout": "1000"}},
        },
    }
    children = {
        child["kind"]: child["metadata"].get("annotations", {})
        for child in render_children(Owner("ns", "digits", "uid"), ModelDeploymentSpec.model_validate(given), PLAIN)
    }
    assert children["Ingress"] == {"example.com/own": "1"}
    assert children["Service"] == {"konghq.com/read-timeout": "1000", "konghq.com/write-timeout": "35000"}


def test_every_class_has_a_controller_and_the_chart_offers_each() -> None:
    assert set(CLASSES.values()) <= set(CONTROLLERS)
    assert set(IngressController.__args__) == set(CONTROLLERS)
