"""Node mode: a cluster whose Pods really run. Brings everything up in order, and takes everything down."""

from __future__ import annotations

import http
import json
from ipaddress import IPv4Network
from typing import Any, Final

from tests.cluster import (
    addons,
    cgroups,
    containerd,
    control_plane,
    kubelet,
    machine,
    network,
    packages,
    pause_image,
    process,
    registry,
)
from tests.cluster.state import ClusterState
from tests.cluster.topology import Node, nodes, registry_reference

GPU_RESOURCE: Final = "nvidia.com/gpu"
PACKAGES: Final = (
    "containerd",
    "runc",
    "containernetworking-plugins",
    "docker-registry",
    "buildah",
    "iproute2",
    "iptables",
    "conntrack",
    "ethtool",
    "kmod",
    "util-linux",
    "gcc",
    "libc6-dev",
)
_REGISTER_SECONDS: Final = 60.0
_READY_SECONDS: Final = 90.0


def prepare() -> None:
    """Install what can be installed and raise what is lacking, before anything takes long or has to be undone."""
    machine.check_user()
    packages.ensure(PACKAGES)
    machine.check_kernel()


def bring_up(state: ClusterState) -> None:
    """Returns once Pods can be scheduled, images pulled, names resolved and Ingresses reached."""
    pause = pause_image.ensure()
    members = nodes(state)
    machine.remember_settings()
    network.create(state)
    registry.start(state, members[0])
    for node in members:
        cgroups.create(node.cgroup)
        containerd.start(state, node)
    control_plane.start(state)
    for node in members:
        containerd.wait_until_ready(state, node)
        containerd.import_image(node, pause)
        # One after the other: Pod ranges are given in the order of registration.
        kubelet.start(state, node)
        _wait_until_registered(state, node)
        kubelet.start_proxy(state, node)
    pod_ranges = [_pod_range(state, node) for node in members]
    network.route_pods(state, pod_ranges)
    for node, pods in zip(members, pod_ranges, strict=True):
        containerd.write_pod_network(state, node, pods)
    addons.start(state, members[0])
    for node in members:
        _wait_until_ready(state, node)
        if state.gpus_per_node:
            pretend_gpus(state, node, state.gpus_per_node)
    registry.wait_until_ready(state, members[0])
    addons.wait_until_ready(state, members[0])
    state.registry = registry_reference(state)
    state.ingress_address = str(members[0].address)
    state.save()


def take_down(state: ClusterState) -> None:
    """Leaves the machine as it was; the same way after a crash, and when there is nothing.

    The API server is not asked to delete the Pods: it may not run any more, and their cgroups say exactly what runs.
    """
    members = nodes(state)
    for node in members:
        process.stop(state, node.program("kubelet"))  # it would start again what ends
        process.stop(state, node.program("containerd"))  # and this would forget where the shims' sockets are
    for node in members:
        cgroups.kill(node.cgroup)
        containerd.end_shims(node)
    process.stop_all(state)
    for node in members:
        containerd.remove_shim_sockets(node)
    machine.unmount_below(state.directory)
    network.delete(state)
    for node in members:
        cgroups.remove(node.cgroup)
    machine.remove_traces(state)
    machine.restore_settings()


def pretend_gpus(state: ClusterState, node: Node, count: int) -> None:
    """The node claims GPUs that nobody has: they are counted and scheduled, and a Pod sees none.

    A kubelet that is started again forgets them.
    """
    resource = GPU_RESOURCE.replace("/", "~1")
    patch = [
        {"op": "add", "path": f"/status/{field}/{resource}", "value": str(count)}
        for field in ("capacity", "allocatable")
    ]
    addons.kubectl(
        state, "patch", "node", node.name, "--subresource=status", "--type=json", f"--patch={json.dumps(patch)}"
    )


def _wait_until_registered(state: ClusterState, node: Node) -> None:
    process.wait_until(
        state,
        lambda: _is_registered(state, node),
        what=f"the kubelet has registered {node.name}",
        needs=[node.program("kubelet"), node.program("containerd"), "kube-apiserver"],
        timeout_seconds=_REGISTER_SECONDS,
    )


def _is_registered(state: ClusterState, node: Node) -> bool:
    path = f"/api/v1/nodes/{node.name}"
    if control_plane.api_status(state, path) != http.HTTPStatus.OK:
        return False
    return "podCIDR" in control_plane.api_get(state, path)["spec"]


def _pod_range(state: ClusterState, node: Node) -> IPv4Network:
    return IPv4Network(control_plane.api_get(state, f"/api/v1/nodes/{node.name}")["spec"]["podCIDR"])


def _wait_until_ready(state: ClusterState, node: Node) -> None:
    process.wait_until(
        state,
        lambda: is_ready(control_plane.api_get(state, f"/api/v1/nodes/{node.name}")),
        what=f"{node.name} is Ready",
        needs=[node.program("kubelet"), node.program("containerd"), node.program("kube-proxy")],
        timeout_seconds=_READY_SECONDS,
    )


def is_ready(node: dict[str, Any]) -> bool:
    """Ready, and no taint keeps Pods away any more."""
    conditions = {condition["type"]: condition["status"] for condition in node["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and not node["spec"].get("taints")
