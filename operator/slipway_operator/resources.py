"""The kinds of object that the operator knows, and their paths in the API. Pure; no discovery is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from slipway_operator.api.v1alpha1 import GROUP, KIND, PLURAL, VERSION


class Key(NamedTuple):
    """A ModelDeployment."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Resource:
    """`group` is "" for the core group."""

    group: str
    version: str
    kind: str
    plural: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root]
        if namespace is not None:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part is not None]
        return "/".join(parts)


MODEL: Final = Resource(GROUP, VERSION, KIND, PLURAL)
POD: Final = Resource("", "v1", "Pod", "pods")
LEASE: Final = Resource("coordination.k8s.io", "v1", "Lease", "leases")
EVENT: Final = Resource("", "v1", "Event", "events")
CONFIG_MAP: Final = Resource("", "v1", "ConfigMap", "configmaps")
SERVICE_ACCOUNT: Final = Resource("", "v1", "ServiceAccount", "serviceaccounts")
SERVICE: Final = Resource("", "v1", "Service", "services")
DEPLOYMENT: Final = Resource("apps", "v1", "Deployment", "deployments")
CONTROLLER_REVISION: Final = Resource("apps", "v1", "ControllerRevision", "controllerrevisions")
INGRESS: Final = Resource("networking.k8s.io", "v1", "Ingress", "ingresses")
DISRUPTION_BUDGET: Final = Resource("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY: Final = Resource("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")

GATEWAY: Final = Resource("gateway.networking.k8s.io", "v1", "Gateway", "gateways")
HTTP_ROUTE: Final = Resource("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes")

CHILDREN: Final = (
    CONFIG_MAP,
    SERVICE_ACCOUNT,
    SERVICE,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
    INGRESS,
    DEPLOYMENT,
    CONTROLLER_REVISION,
)
"""Kinds that every cluster has."""

_BY_KIND: Final = {resource.kind: resource for resource in (*CHILDREN, HTTP_ROUTE)}


class ChildRef(NamedTuple):
    """A child within its owner's namespace."""

    kind: str
    name: str

    @property
    def resource(self) -> Resource:
        return _BY_KIND[self.kind]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def child_ref(manifest: dict[str, Any]) -> ChildRef:
    return ChildRef(manifest["kind"], manifest["metadata"]["name"])
