"""The chart's values: names, types, defaults and what they are for. Pure data.

`values.yaml`, `values.schema.json` and the table in the chart's README are written from here. Kubernetes' own shapes
(affinity, tolerations, security contexts) are passed through as they stand.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from slipway_operator.tools.monitoring_values import Metrics, Monitoring, NetworkPolicy
from slipway_operator.tools.value_types import Digest, Labels, Namespace, Object, Values

_RESTRICTED_POD: Object = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_RESTRICTED_CONTAINER: Object = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


IngressController = Literal[
    "alb", "application-gateway", "contour", "haproxy", "kong", "nginx", "none", "openshift", "traefik"
]


class Image(Values):
    """Where an image comes from."""

    repository: Annotated[str, Field(min_length=1)]
    """Registry and name of the image."""
    tag: str = ""
    """Tag of the image. The chart's appVersion when empty."""
    digest: Digest = ""
    """Digest of the image (`sha256:…`). It wins over the tag."""
    pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = ""
    """When to pull the image. Kubernetes' default when empty."""


class Lease(Values):
    """How long the Lease holds by which one replica acts."""

    duration_seconds: Annotated[int, Field(ge=3, le=600)] = 15
    """After so long without a renewal another replica takes over."""
    renew_deadline_seconds: Annotated[int, Field(ge=2, le=480)] = 10
    """After so long without a renewal the holder writes nothing more. At most four fifths of the duration."""
    retry_seconds: Annotated[int, Field(ge=1, le=60)] = 2
    """Time between two renewals. At most a third of the deadline."""


class Operator(Values):
    """The operator's own pods."""

    replicas: Annotated[int, Field(ge=1, le=9)] = 2
    """Pods of the operator. One acts, the others can take over."""
    lease: Lease = Lease()
    """How long the Lease holds by which one replica acts."""
    image: Image = Image(repository="ghcr.io/slipway-dev/operator")
    """Image of the operator."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe level that is logged."""
    log_format: Literal["json", "text"] = "json"
    """One JSON object or one line of text for each message."""
    writes_per_second: Annotated[int, Field(ge=1, le=1000)] = 50
    """Most writes per second that the operator makes of the API server."""
    sweep_seconds: Annotated[int, Field(ge=10, le=86400)] = 300
    """How often everything is listed and compared, should an event have been lost."""
    verify_predictions: bool = True
    """Ask each Service for a prediction before its ModelDeployment is Ready, and pods how far they have come. Set it to
    false where the operator cannot reach pods and Services."""
    verify_routes: bool = True
    """Ask each Ingress, Gateway and load balancer for a prediction as well, before its URL is in the status. Set it to
    false where the operator cannot reach their addresses, and where others answer before the model, such as a login."""
    extra_env: list[Object] = []
    """Further environment variables, as in a container."""
    extra_volumes: list[Object] = []
    """Further volumes of the pod, such as one with a certificate authority."""
    extra_volume_mounts: list[Object] = []
    """Where the container sees them."""
    resources: Object = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "384Mi"}}
    """Resources of the operator. Without a CPU limit, so that a burst of changes is not throttled."""
    pod_labels: Labels = {}
    """Further labels of the pod."""
    pod_annotations: Labels = {}
    """Further annotations of the pod."""
    pod_security_context: Object = _RESTRICTED_POD
    """Security context of the pod; with `securityContext` it meets Pod Security "restricted". On OpenShift set
    `runAsUser` and `runAsGroup` to null."""
    security_context: Object = _RESTRICTED_CONTAINER
    """Security context of the container."""
    node_selector: Labels = {}
    """Labels of the nodes that may run the operator."""
    tolerations: list[Object] = []
    """Taints that the operator tolerates."""
    affinity: Object = {}
    """Affinity of the operator's pod."""
    topology_spread_constraints: list[Object] = []
    """Topology spread constraints of the operator's pods. Over the nodes, where that can be, when empty."""
    priority_class_name: str = ""
    """PriorityClass of the operator's pod. The cluster's default when empty."""


class Runtime(Values):
    """What the served models run in, unless a ModelDeployment names an image of its own."""

    image: Image = Image(repository="ghcr.io/slipway-dev/runtime")
    """Image that serves the models, unless a ModelDeployment sets `spec.runtime.image`."""
    upgrade_policy: Literal["OnChange", "Always"] = "OnChange"
    """When models take up another image and what another version of the operator renders. OnChange: each with the next
    change of its own spec that concerns its pods, so that an upgrade restarts nothing. Always: all of them at once."""


class Ingress(Values):
    """What serves the Ingresses that models ask for. Each controller has annotations of its own for timeouts and sizes;
    the operator knows a controller by the class that it installs by default."""

    default_class: Annotated[str, Field(max_length=253)] = ""
    """Name of the IngressClass that the cluster gives to an Ingress without one."""
    classes: dict[str, IngressController] = {}
    """Controllers behind classes of other names, such as `{internal: nginx}`."""


class Crds(Values):
    """The CustomResourceDefinition of ModelDeployment."""

    enabled: bool = True
    """Install the CRD, and upgrade it with the chart."""
    keep: bool = True
    """Leave the CRD in place on `helm uninstall`. If false, all ModelDeployments and all served models go with it."""


class ServiceAccount(Values):
    """The operator's identity."""

    create: bool = True
    """Make the ServiceAccount."""
    name: str = ""
    """Name of the ServiceAccount. Derived from the release when empty."""
    annotations: Labels = {}
    """Annotations of the ServiceAccount."""


class Rbac(Values):
    """What the operator and the users may do."""

    create: bool = True
    """Make the operator's roles and their bindings."""
    aggregate: bool = True
    """Add ModelDeployments to the cluster's `view`, `edit` and `admin` roles."""


class ChartValues(Values):
    """All values of the chart."""

    name_override: Annotated[str, Field(max_length=53)] = ""
    """Name of the application instead of `slipway`."""
    fullname_override: Annotated[str, Field(max_length=53)] = ""
    """Beginning of every object's name, instead of one derived from the release."""
    image_pull_secrets: list[Object] = []
    """Secrets for pulling the operator's image, such as `[{name: registry}]`. Those for a runtime image are set in the
    ModelDeployment."""
    watch_namespaces: list[Namespace] = []
    """Namespaces whose ModelDeployments are served. All when empty; else the operator gets a Role in each of them, and
    they must exist."""
    allowed_schemes: Annotated[list[Literal["s3", "https", "http", "file"]], Field(min_length=1)] = [
        "s3",
        "https",
        "http",
    ]
    """Where artifacts may come from. Add `file` for models that are part of an image."""
    operator: Operator = Operator()
    """The operator's own pod."""
    runtime: Runtime = Runtime()
    """What the served models run in."""
    ingress: Ingress = Ingress()
    """What serves the Ingresses that models ask for."""
    crds: Crds = Crds()
    """The CustomResourceDefinition."""
    service_account: ServiceAccount = ServiceAccount()
    """The operator's identity."""
    rbac: Rbac = Rbac()
    """What the operator and the users may do."""
    metrics: Metrics = Metrics()
    """The operator's own metrics."""
    monitoring: Monitoring = Monitoring()
    """What the Prometheus Operator and Grafana are told. All of it is off unless asked for."""
    network_policy: NetworkPolicy = NetworkPolicy()
    """Who may reach the operator's pod."""
