"""Who may reach the pods. Pure."""

from __future__ import annotations

from typing import Any

from slipway_operator.api.cluster import NetworkPeer
from slipway_operator.api.v1alpha1 import ModelDeploymentSpec, NetworkPolicy
from slipway_operator.names import (
    ADMIN_PORT_NAME,
    COMPONENT_LABEL,
    GRPC_PORT_NAME,
    INFERENCE_PORT_NAME,
    PART_OF_LABEL,
    selector_labels,
)
from slipway_operator.render.custom import is_custom
from slipway_operator.render.manifest import Manifest, Owner, RenderSettings, metadata
from slipway_operator.render.service import service_exposure


def render_network_policy(
    owner: Owner, spec: ModelDeploymentSpec, policy: NetworkPolicy, settings: RenderSettings
) -> Manifest:
    """Only what comes in is restricted: the artifact's store may be anywhere."""
    inference = [INFERENCE_PORT_NAME]
    if service_exposure(spec).grpc_port is not None:
        inference.append(GRPC_PORT_NAME)
    allowed = [_allow(policy.clients or [NetworkPeer.model_validate({"podSelector": {}})], inference)]
    if policy.monitors:
        # A server of another kind tells its metrics where it answers.
        allowed.append(_allow(policy.monitors, [INFERENCE_PORT_NAME if is_custom(spec) else ADMIN_PORT_NAME]))
    if settings.operator_namespace:
        # It asks the Service for a prediction before it says Ready, and pods how far they have come.
        ports = [{"port": port, "protocol": "TCP"} for port in (INFERENCE_PORT_NAME, ADMIN_PORT_NAME)]
        allowed.append({"from": [_operator(settings.operator_namespace)], "ports": ports})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(owner, owner.name),
        "spec": {
            "podSelector": {"matchLabels": selector_labels(owner.name)},
            "policyTypes": ["Ingress"],
            "ingress": allowed,
        },
    }


def _operator(namespace: str) -> dict[str, Any]:
    return {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "podSelector": {"matchLabels": {COMPONENT_LABEL: "operator", PART_OF_LABEL: "slipway"}},
    }


def _allow(peers: list[NetworkPeer], ports: list[str]) -> dict[str, Any]:
    return {
        "from": [peer.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True) for peer in peers],
        "ports": [{"port": port, "protocol": "TCP"} for port in ports],
    }
