"""What the operator may do, and what users may, as tables; the chart's roles are generated from them. Pure.

Every verb is one that the code uses: `list` and `watch` by the informers and the sweep, `get` to look whose a name
is before it is taken, `create` and `patch` by server-side apply, `delete` for a child that is no longer wanted.
There are no wildcards and no Secrets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from slipway_operator.api.v1alpha1 import GROUP, PLURAL

_CHILD_VERBS: Final = ("get", "list", "watch", "create", "patch", "delete")


@dataclass(frozen=True)
class Permission:
    """`group` is "" for the core group; `resource` may name a subresource, as in `deployments/status`."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()
    """Only these objects; all when empty."""


PERMISSIONS: Final[tuple[Permission, ...]] = (
    Permission(GROUP, PLURAL, ("list", "watch")),
    Permission(GROUP, f"{PLURAL}/status", ("patch",)),
    # An owner reference that blocks deletion needs this where OwnerReferencesPermissionEnforcement is on (OpenShift).
    Permission(GROUP, f"{PLURAL}/finalizers", ("update",)),
    Permission("apps", "deployments", _CHILD_VERBS),
    Permission("apps", "controllerrevisions", _CHILD_VERBS),
    Permission("", "configmaps", _CHILD_VERBS),
    Permission("", "serviceaccounts", _CHILD_VERBS),
    Permission("", "services", _CHILD_VERBS),
    Permission("networking.k8s.io", "ingresses", _CHILD_VERBS),
    Permission("networking.k8s.io", "networkpolicies", _CHILD_VERBS),
    # Rules about kinds that the cluster does not have give nothing and do no harm.
    Permission("gateway.networking.k8s.io", "httproutes", _CHILD_VERBS),
    Permission("gateway.networking.k8s.io", "gateways", ("get",)),
    Permission("policy", "poddisruptionbudgets", _CHILD_VERBS),
    Permission("", "pods", ("list", "watch")),
    Permission("", "events", ("create", "patch")),
)
"""Needed in every namespace that the operator serves."""

CLUSTER_PERMISSIONS: Final[tuple[Permission, ...]] = (
    # kopf follows the CRD, so that one installed or upgraded later is noticed.
    Permission("apiextensions.k8s.io", "customresourcedefinitions", ("list", "watch")),
)
"""Needed once, and only when the operator serves the whole cluster."""


USER_PERMISSIONS: Final[dict[str, tuple[Permission, ...]]] = {
    "view": (
        Permission(GROUP, PLURAL, ("get", "list", "watch")),
        Permission(GROUP, f"{PLURAL}/status", ("get",)),
        Permission(GROUP, f"{PLURAL}/scale", ("get",)),
    ),
    "edit": (
        Permission(GROUP, PLURAL, ("create", "update", "patch", "delete", "deletecollection")),
        Permission(GROUP, f"{PLURAL}/scale", ("update", "patch")),
    ),
}
"""What is added to the cluster's own roles of these names; `edit` comes on top of `view`, and `admin` has both. Nobody
writes a status but the operator."""


def lease_permissions(name: str) -> tuple[Permission, ...]:
    """Needed in the namespace of the Lease of this name. What is created has no name yet as far as rules go."""
    group = "coordination.k8s.io"
    return (Permission(group, "leases", ("create",)), Permission(group, "leases", ("get", "update"), (name,)))


def rules(permissions: tuple[Permission, ...]) -> list[dict[str, Any]]:
    """As the `rules` of a Role or ClusterRole."""
    return [
        {"apiGroups": [item.group], "resources": [item.resource]}
        | ({"resourceNames": list(item.names)} if item.names else {})
        | {"verbs": list(item.verbs)}
        for item in permissions
    ]
