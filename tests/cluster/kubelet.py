"""kubelet and kube-proxy of one node: configuration and start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from tests.cluster import control_plane, pki, process
from tests.cluster.components import ensure
from tests.cluster.state import ClusterState
from tests.cluster.topology import Node, dns_address

CLUSTER_DOMAIN: Final = "cluster.local"


def start(state: ClusterState, node: Node) -> None:
    pair = pki.load_authority(state.pki).issue_kubelet(node.name, [str(node.address)])
    kubeconfig = control_plane.kubeconfig_for(state, pair, state.pki / f"kubelet-{node.name}.kubeconfig")
    resolver = node.directory / "resolv.conf"
    resolver.write_text(f"nameserver {_dns_server(state)}\n", encoding="utf-8")
    configuration = _write(node.directory / "kubelet.json", configuration_file(state, node, pair, resolver))
    argv: list[str | Path] = [
        ensure("kubelet"),
        f"--config={configuration}",
        f"--kubeconfig={kubeconfig}",
        f"--hostname-override={node.name}",
        f"--node-ip={node.address}",
        f"--root-dir={node.directory / 'kubelet'}",
        f"--cert-dir={state.pki}",
    ]
    process.start(state, node.program("kubelet"), argv, netns=node.netns)


def start_proxy(state: ClusterState, node: Node) -> None:
    configuration = _write(node.directory / "kube-proxy.json", proxy_configuration_file(state, node))
    argv: list[str | Path] = [ensure("kube-proxy"), f"--config={configuration}"]
    process.start(state, node.program("kube-proxy"), argv, netns=node.netns)


def configuration_file(state: ClusterState, node: Node, pair: pki.KeyPair, resolver: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "x509": {"clientCAFile": str(state.pki / "ca.crt")},
            "webhook": {"enabled": True},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pair.certificate),
        "tlsPrivateKeyFile": str(pair.key),
        "containerRuntimeEndpoint": f"unix://{node.socket}",
        # Not systemd's: the machine may have none, and this driver works with both versions of cgroups.
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{node.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [str(dns_address(state))],
        "clusterDomain": CLUSTER_DOMAIN,
        "resolvConf": str(resolver),
        "podLogsDir": str(node.directory / "pod-logs"),
        "volumePluginDir": str(node.directory / "volume-plugins"),
        # The machine's disk and memory belong to others too: never evict or delete images for what they use.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "serializeImagePulls": False,
        "eventRecordQPS": 0,  # every Event is written
    }


def proxy_configuration_file(state: ClusterState, node: Node) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(state.pki / "kube-proxy.kubeconfig")},
        "mode": "iptables",
        "clusterCIDR": state.pod_range,
        "hostnameOverride": node.name,
        # Not per core: the size of the connection table is the whole machine's.
        "conntrack": {"maxPerCore": 0},
    }


def _dns_server(state: ClusterState) -> str:
    assert state.node_address is not None
    return state.node_address


def _write(path: Path, document: dict[str, Any]) -> Path:
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return path
