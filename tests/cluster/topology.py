"""Which node has which name, address, network namespace, folder and cgroup. Pure: read off the cluster's state."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final

from tests.cluster.state import ClusterState

REGISTRY_PORT: Final = 5000


@dataclass(frozen=True)
class Node:
    """One node of a cluster; `index` counts from 1, and node 1 also holds the control plane."""

    index: int
    name: str
    network: IPv4Network
    """Joins the node with the machine, and holds nothing but the two."""
    netns: str
    veth: str
    """The machine's end of the pair; the node's end is eth0."""
    directory: Path
    cgroup: str
    """Below the root of each cgroup hierarchy, without a leading slash."""

    @property
    def address(self) -> IPv4Address:
        return node_address(self.network)

    @property
    def gateway(self) -> IPv4Address:
        """The machine's address on this network."""
        return self.network[2]

    @property
    def socket(self) -> Path:
        """containerd's. Its path is also how this cluster's shims are told from all others."""
        return self.directory / "containerd.sock"

    def program(self, name: str) -> str:
        """Under which a program of this node is listed among the cluster's processes."""
        return f"{name}-{self.name}"


def node_address(network: IPv4Network) -> IPv4Address:
    return network[1]


def nodes(state: ClusterState) -> list[Node]:
    """In the order in which they are started."""
    return [_node(state, index, IPv4Network(text)) for index, text in enumerate(state.node_ranges, start=1)]


def dns_address(state: ClusterState) -> IPv4Address:
    """Of the Service `kube-dns`: the tenth of the Service range, as in clusters made by kubeadm."""
    return IPv4Network(state.service_range)[10]


def registry_reference(state: ClusterState) -> str:
    """Host and port of the registry, as image references begin."""
    return f"{nodes(state)[0].address}:{REGISTRY_PORT}"


def _node(state: ClusterState, index: int, network: IPv4Network) -> Node:
    tag = f"slipway-{state.tag}"
    first_netns = state.netns or tag
    return Node(
        index=index,
        name=f"node{index}",
        network=network,
        netns=first_netns if index == 1 else f"{first_netns}-{index}",
        veth=f"sw{state.tag}{index}",  # at most 15 characters, says the kernel
        directory=state.directory / f"node{index}",
        cgroup=f"{tag}-{index}",
    )
