"""Who may reach the pods. Pure."""

from __future__ import annotations

from typing import Any

from slipway_operator.api.cluster import NetworkPeer
from slipway_operator.api.v1alpha1 import ModelDeploymentSpec, NetworkPolicy
from slipway_operator.names import ADMIN_PORT_NAME, GRPC_PORT_NAME, INFERENCE_PORT_NAME, selector_labels
from slipway_operator.render.manifest import Manifest, Owner, metadata
from slipway_operator.render.service import service_exposure


def render_network_policy(owner: Owner, spec: ModelDeploymentSpec, policy: NetworkPolicy) -> Manifest:
    """Only what comes in is restricted: the artifact's store may be anywhere."""
    inference = [INFERENCE_PORT_NAME]
    if service_exposure(spec).grpc_port is not None:
        inference.append(GRPC_PORT_NAME)
    allowed = [_allow(policy.clients or [NetworkPeer.model_validate({"podSelector": {}})], inference)]
    if policy.monitors:
        allowed.append(_allow(policy.monitors, [ADMIN_PORT_NAME]))
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


def _allow(peers: list[NetworkPeer], ports: list[str]) -> dict[str, Any]:
    return {
        "from": [peer.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True) for peer in peers],
        "ports": [{"port": port, "protocol": "TCP"} for port in ports],
    }
