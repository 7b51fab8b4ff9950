"""How clients reach the model, and what a request may ask for."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from slipway_operator.api.container import SecretReference
from slipway_operator.api.fields import PORT_LIMIT, Annotations, HostName, ObjectName, Port, RoutePath
from slipway_operator.api.gateway import GatewayExposure
from slipway_operator.api.schema import ApiModel, Rule, number, rules

BODY_LIMIT_BYTES: Final = 4 * 1024**3


class ServiceExposure(ApiModel):
    """The Service in front of the pods."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "!has(self.grpcPort) || self.grpcPort != self.port",
                f"got {{{number('self.grpcPort', PORT_LIMIT)}}}, expected another port than"
                " spec.exposure.service.port, which HTTP has already. Choose another, such as 9000.",
                field_path=".grpcPort",
            )
        )
    )

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """Kind of Service."""
    port: Port = 80
    """Port of the Service."""
    grpc_port: Port | None = None
    """Port of the Service for the Open Inference Protocol over gRPC. Without it the pods speak no gRPC."""
    annotations: Annotations = {}
    """Annotations of the Service, for cloud load balancers."""


class IngressTls(ApiModel):
    """HTTPS at the Ingress."""

    secret_name: ObjectName
    """The Secret (type kubernetes.io/tls) with certificate and key."""


class IngressExposure(ApiModel):
    """The route from outside the cluster."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "!has(self.tls) || has(self.host)",
                "tls needs the host name that the certificate is for. Set spec.exposure.ingress.host.",
                field_path=".host",
                reason="FieldValueRequired",
            )
        )
    )

    class_name: ObjectName | None = None
    """IngressClass. The cluster's default class applies when unset."""
    host: HostName | None = None
    """Host name of the route. All hosts when unset."""
    path: RoutePath = "/"
    """Path prefix of the route. The runtime strips it, so any Ingress controller will do."""
    tls: IngressTls | None = None
    """HTTPS with this certificate."""
    max_body_bytes: Annotated[int, Field(ge=1, le=BODY_LIMIT_BYTES)] | None = None
    """The largest request body that the Ingress controller lets through. As `spec.traffic.maxRequestBytes` when unset.
    The operator writes it, and the timeouts, in the annotations of the controllers that it knows."""
    annotations: Annotations = {}
    """Annotations of the Ingress, for its controller. One that is given here counts more than one that the operator
    would write."""


class Exposure(ApiModel):
    """How clients reach the model."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "!has(self.ingress) || !has(self.gateway)",
                "stands beside spec.exposure.ingress, expected one of the two, because a model has one route and one"
                " URL. Remove the one that the cluster has no controller for.",
                field_path=".gateway",
                reason="FieldValueForbidden",
            )
        )
    )

    service: ServiceExposure | None = None
    """The Service; it always exists, this sets its kind."""
    ingress: IngressExposure | None = None
    """An Ingress, when the model is to be reached from outside the cluster."""
    gateway: GatewayExposure | None = None
    """An HTTPRoute of the Gateway API instead of an Ingress. Needs the Gateway API and a Gateway in the cluster."""

    @property
    def path(self) -> str:
        """The prefix under which requests come from outside; empty for all paths."""
        route = self.ingress or self.gateway
        return route.path.rstrip("/") if route is not None else ""


class Authentication(ApiModel):
    """Who may ask for predictions."""

    api_keys_secret_ref: SecretReference
    """The Secret with the keys: each value is one key, or several on lines of their own. A request carries one as
    `Authorization: Bearer KEY` or `X-API-Key: KEY`; others are answered 401. A changed Secret takes effect without a
    restart. The operator never reads it."""


class TrafficTls(ApiModel):
    """HTTPS, and TLS for gRPC, up to the pods."""

    secret_name: ObjectName
    """The Secret (type kubernetes.io/tls) with certificate and key. A renewed certificate takes effect without a
    restart. The operator never reads it."""


class Traffic(ApiModel):
    """Limits on requests, and who may make them."""

    request_timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    """A request older than this is answered 504. It sizes the pod's grace period too."""
    max_request_bytes: Annotated[int, Field(ge=1, le=BODY_LIMIT_BYTES)] = 64 * 1024**2
    """A larger request body is answered 413."""
    max_concurrency: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Most predictions that a pod has accepted and not yet answered, over HTTP and gRPC together; more are answered 429
    with Retry-After. Without it the queue alone is bounded, by `spec.batching` and the latency target."""
    auth: Authentication | None = None
    """API keys that clients must present. Everyone who reaches the Service may ask when unset."""
    tls: TrafficTls | None = None
    """Encryption up to the pods, which then speak no plain HTTP on the Service's ports. An Ingress controller must be
    told by its annotations to speak HTTPS to the Service."""
