"""What each Ingress controller calls the limits that a model needs, by the class of the Ingress. Pure.

Ingress has no fields for the size of a body, for timeouts and for HTTPS up to the pods: each controller has annotations
of its own for them. docs/exposing.md has the table with the sources.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from slipway_operator.api.v1alpha1 import CustomContainer, IngressExposure, ModelDeploymentSpec, Runtime, Traffic
from slipway_operator.render.manifest import RenderSettings

PROXY_MARGIN_SECONDS: Final = 5
"""A proxy waits this much longer than the runtime, so that clients get the runtime's own 504 and its words."""

READINESS_PATH: Final = "/v2/health/ready"
"""Of the runtime, at its inference port; it needs no key."""

_ALB_IDLE_SECONDS: Final = 60
"""An ALB's own idle timeout."""


@dataclass(frozen=True)
class Needs:
    """What the controller is to be told."""

    service: str
    port: int
    body_bytes: int
    timeout_seconds: int
    encrypted: bool
    """The pods speak HTTPS."""
    cluster_ip: bool
    """The Service has no port on the nodes."""
    readiness_path: str
    given: Mapping[str, str]
    """The user's own annotations of the Ingress."""


@dataclass(frozen=True)
class ProxyAnnotations:
    """Some controllers read the Service's annotations."""

    ingress: dict[str, str]
    service: dict[str, str]


def proxy_annotations(service: str, spec: ModelDeploymentSpec, settings: RenderSettings) -> ProxyAnnotations:
    """None where the class is of no controller that is known."""
    ingress = spec.exposure.ingress if spec.exposure is not None else None
    if ingress is None:
        return ProxyAnnotations({}, {})
    controller = _controller(ingress, settings)
    return CONTROLLERS[controller](_needs(service, spec, ingress)) if controller else ProxyAnnotations({}, {})


def _controller(ingress: IngressExposure, settings: RenderSettings) -> str | None:
    class_name = ingress.class_name or settings.default_ingress_class
    found = dict(settings.ingress_classes).get(class_name, CLASSES.get(class_name))
    return found if found in CONTROLLERS else None


def _needs(service: str, spec: ModelDeploymentSpec, ingress: IngressExposure) -> Needs:
    traffic = spec.traffic or Traffic()
    exposed = spec.exposure.service if spec.exposure is not None else None
    return Needs(
        service=service,
        port=exposed.port if exposed is not None else 80,
        body_bytes=ingress.max_body_bytes or traffic.max_request_bytes,
        timeout_seconds=traffic.request_timeout_seconds + PROXY_MARGIN_SECONDS,
        encrypted=traffic.tls is not None,
        cluster_ip=exposed is None or exposed.type == "ClusterIP",
        readiness_path=_readiness_path(spec.runtime or Runtime()),
        given=ingress.annotations,
    )


def _readiness_path(runtime: Runtime) -> str:
    if runtime.engine == "Custom":
        return (runtime.container or CustomContainer()).readiness_path
    return READINESS_PATH


def _nginx(needs: Needs) -> ProxyAnnotations:
    """Two controllers call their class `nginx`: ingress-nginx, with those who took over its annotations, and F5's.

    Each reads its own prefix alone.
    """
    community, f5 = "nginx.ingress.kubernetes.io", "nginx.org"
    found = {
        f"{community}/proxy-body-size": str(needs.body_bytes),
        f"{community}/proxy-read-timeout": str(needs.timeout_seconds),
        f"{community}/proxy-send-timeout": str(needs.timeout_seconds),
        f"{f5}/client-max-body-size": str(needs.body_bytes),
        f"{f5}/proxy-read-timeout": f"{needs.timeout_seconds}s",
        f"{f5}/proxy-send-timeout": f"{needs.timeout_seconds}s",
    }
    if needs.encrypted:
        found |= {f"{community}/backend-protocol": "HTTPS", f"{f5}/ssl-services": needs.service}
    return ProxyAnnotations(found, {})


def _haproxy(needs: Needs) -> ProxyAnnotations:
    """Two controllers call their class `haproxy`: HAProxy Technologies' and haproxy-ingress. One has no body limit."""
    technologies, community = "haproxy.org", "haproxy-ingress.github.io"
    found = {
        f"{technologies}/timeout-server": f"{needs.timeout_seconds}s",
        f"{community}/timeout-server": f"{needs.timeout_seconds}s",
        f"{community}/proxy-body-size": str(needs.body_bytes),
    }
    if needs.encrypted:
        found |= {f"{technologies}/server-ssl": "true", f"{community}/backend-protocol": "h1-ssl"}
    return ProxyAnnotations(found, {})


def _traefik(needs: Needs) -> ProxyAnnotations:
    """Limits neither bodies nor the time of an answer by itself; both are no annotations."""
    return ProxyAnnotations(
        {}, {"traefik.ingress.kubernetes.io/service.serversscheme": "https"} if needs.encrypted else {}
    )


def _contour(needs: Needs) -> ProxyAnnotations:
    return ProxyAnnotations(
        {"projectcontour.io/response-timeout": f"{needs.timeout_seconds}s"},
        {"projectcontour.io/upstream-protocol.tls": str(needs.port)} if needs.encrypted else {},
    )


def _kong(needs: Needs) -> ProxyAnnotations:
    """Kong's timeouts belong to the Service, in milliseconds."""
    found = {
        "konghq.com/read-timeout": str(needs.timeout_seconds * 1000),
        "konghq.com/write-timeout": str(needs.timeout_seconds * 1000),
    }
    return ProxyAnnotations({}, found | ({"konghq.com/protocol": "https"} if needs.encrypted else {}))


def _alb(needs: Needs) -> ProxyAnnotations:
    """Load balancer attributes of a group must agree, so a group's are left to whoever made it."""
    prefix = "alb.ingress.kubernetes.io"
    found = {f"{prefix}/healthcheck-path": needs.readiness_path}
    if needs.cluster_ip:
        found[f"{prefix}/target-type"] = "ip"
    if needs.encrypted:
        found[f"{prefix}/backend-protocol"] = "HTTPS"
    if needs.timeout_seconds > _ALB_IDLE_SECONDS and f"{prefix}/group.name" not in needs.given:
        found[f"{prefix}/load-balancer-attributes"] = f"idle_timeout.timeout_seconds={needs.timeout_seconds}"
    return ProxyAnnotations(found, {})


def _application_gateway(needs: Needs) -> ProxyAnnotations:
    prefix = "appgw.ingress.kubernetes.io"
    found = {f"{prefix}/request-timeout": str(needs.timeout_seconds)}
    return ProxyAnnotations(found | ({f"{prefix}/backend-protocol": "https"} if needs.encrypted else {}), {})


def _openshift(needs: Needs) -> ProxyAnnotations:
    return ProxyAnnotations({"haproxy.router.openshift.io/timeout": f"{needs.timeout_seconds}s"}, {})


def _nothing(needs: Needs) -> ProxyAnnotations:
    """Controllers that are configured by objects of their own kinds."""
    return ProxyAnnotations({}, {})


CONTROLLERS: Final[Mapping[str, Callable[[Needs], ProxyAnnotations]]] = {
    "alb": _alb,
    "application-gateway": _application_gateway,
    "contour": _contour,
    "haproxy": _haproxy,
    "kong": _kong,
    "nginx": _nginx,
    "none": _nothing,
    "openshift": _openshift,
    "traefik": _traefik,
}
"""By the name that the installation's settings use."""

CLASSES: Final[Mapping[str, str]] = {
    "alb": "alb",
    "azure-application-gateway": "application-gateway",
    "contour": "contour",
    "haproxy": "haproxy",
    "kong": "kong",
    "nginx": "nginx",
    "openshift-default": "openshift",
    "traefik": "traefik",
}
"""The class each controller installs by default. Others are told by the installation's settings."""
