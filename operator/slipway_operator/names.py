"""Every name the operator gives: component strings, labels, annotations and children. Pure."""

from __future__ import annotations

from typing import Final

COMPONENT: Final = "slipway-operator"
"""Field manager, event reporter, User-Agent, Lease and logger: one string for all."""
STATUS_FIELD_MANAGER: Final = f"{COMPONENT}-status"

DOMAIN: Final = "slipway.dev"
MODEL_LABEL: Final = f"{DOMAIN}/modeldeployment"
CONFIG_HASH_ANNOTATION: Final = f"{DOMAIN}/config-hash"
TEMPLATE_HASH_ANNOTATION: Final = f"{DOMAIN}/template-hash"
"""On the pod template and so on each pod: tells this generation's pods from older ones."""
MANIFEST_HASH_ANNOTATION: Final = f"{DOMAIN}/manifest-hash"
"""On each child: what was last applied, so that a restarted operator need not apply it again."""

REPLACING_ANNOTATION: Final = f"{DOMAIN}/replacing-for"
"""On a Deployment whose old pods end first: the resource that no node has free beside them."""

NAME_LABEL: Final = "app.kubernetes.io/name"
INSTANCE_LABEL: Final = "app.kubernetes.io/instance"
COMPONENT_LABEL: Final = "app.kubernetes.io/component"
PART_OF_LABEL: Final = "app.kubernetes.io/part-of"
MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
VERSION_LABEL: Final = "app.kubernetes.io/version"
"""On the Deployment alone: the others have no version, and would be written anew with each rollout."""

APPLICATION: Final = "slipway-runtime"
"""Value of `app.kubernetes.io/name` on everything that serves a model."""

RUNTIME_CONTAINER: Final = "runtime"
FETCH_CONTAINER: Final = "fetch"
"""Brings the artifact to a server that is not the runtime."""
INFERENCE_PORT_NAME: Final = "http"
ADMIN_PORT_NAME: Final = "admin"
GRPC_PORT_NAME: Final = "grpc"


def selector_labels(name: str) -> dict[str, str]:
    """Labels that select the pods of a ModelDeployment. They never change: a Deployment's selector is immutable."""
    return {NAME_LABEL: APPLICATION, INSTANCE_LABEL: name, MODEL_LABEL: name}


def child_labels(name: str) -> dict[str, str]:
    """Labels of every child."""
    return selector_labels(name) | {
        COMPONENT_LABEL: "model-server",
        PART_OF_LABEL: "slipway",
        MANAGED_BY_LABEL: COMPONENT,
    }


def config_key(config_hash: str) -> str:
    """The ConfigMap's key for one configuration. Each revision has its own, so a new one never reaches older pods."""
    return f"config-{config_hash}.json"


def config_map_name(name: str) -> str:
    """The ConfigMap with the runtime's configuration."""
    return f"{name}-config"
