"""A real metrics-server beside the cluster, for HorizontalPodAutoscalers and `kubectl top`.

It runs as a process on the first node's address and is registered with the API server like any further API.
"""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any, Final

from tests.cluster import components, control_plane, pki
from tests.cluster.addons import MANIFESTS
from tests.cluster.errors import ClusterError, RequirementError
from tests.cluster.lifecycle import Cluster

NAME: Final = "metrics-server"
NAMESPACE: Final = "kube-system"
PORT: Final = 4443
API: Final = "v1beta1.metrics.k8s.io"
RESOLUTION_SECONDS: Final = 10
"""The least that metrics-server takes."""
START_SECONDS: Final = 90.0


def ensure_metrics(cluster: Cluster) -> None:
    """Returns once the API server answers for nodes' metrics. Another cluster must bring its own metrics-server."""
    if _serves(cluster):
        return
    if cluster.state is None:
        raise RequirementError(f"the cluster of KUBECONFIG serves no {API}: install metrics-server there.")
    _start(cluster)
    deadline = time.monotonic() + START_SECONDS
    while not _serves(cluster):
        if time.monotonic() >= deadline:
            raise ClusterError(f"{NAME}: no metrics within {START_SECONDS:.0f} s. See log/{NAME}.log of the cluster.")
        time.sleep(1)


def _serves(cluster: Cluster) -> bool:
    try:
        answer = json.loads(cluster.kubectl("get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes"))
    except ClusterError:
        return False
    return bool(answer["items"])


def _start(cluster: Cluster) -> None:
    state = cluster.state
    assert state is not None
    assert cluster.node_address is not None
    host = f"{NAME}.{NAMESPACE}.svc"
    authority = pki.load_authority(state.pki)
    server = authority.issue_server(f"{NAME}-server", NAME, [host, cluster.node_address])
    kubeconfig = control_plane.issue_kubeconfig(state, NAME, NAME)
    cluster.kubectl("apply", "--server-side", "-f", str(MANIFESTS / "metrics-server.yaml"))
    argv: list[str | Path] = [
        components.ensure(NAME),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={cluster.node_address}",
        f"--secure-port={PORT}",
        f"--tls-cert-file={server.certificate}",
        f"--tls-private-key-file={server.key}",
        f"--kubelet-certificate-authority={authority.path}",
        "--kubelet-preferred-address-types=InternalIP",
        "--kubelet-use-node-status-port",
        f"--metric-resolution={RESOLUTION_SECONDS}s",
        f"--kubelet-request-timeout={RESOLUTION_SECONDS // 2}s",  # must be less
    ]
    cluster.run_on_node(NAME, argv)
    registration = _registration(cluster.node_address, authority.path.read_bytes())
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(registration))


def _registration(address: str, authority: bytes) -> dict[str, Any]:
    """A Service without a selector, its endpoint on the node, and the API that lies behind it."""
    metadata = {"name": NAME, "namespace": NAMESPACE}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [_port(443)]}}
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**metadata, "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [_port(PORT)],
    }
    group, version = API.partition(".")[2], API.partition(".")[0]
    api = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": API},
        "spec": {
            "group": group,
            "version": version,
            "service": {"name": NAME, "namespace": NAMESPACE, "port": 443},
            "caBundle": base64.b64encode(authority).decode("ascii"),
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
        },
    }
    return {"apiVersion": "v1", "kind": "List", "items": [service, endpoints, api]}


def _port(number: int) -> dict[str, Any]:
    return {"name": "https", "port": number, "protocol": "TCP"}
