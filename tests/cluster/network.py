"""Network namespaces of the nodes, joined with the machine and with each other by veth pairs.

A node reaches the machine and the other nodes, and nothing beyond: the machine forwards no packets for it. In return
nothing of the machine's own changes but one interface and a few routes per node, and the rules that kube-proxy writes
stay inside the namespaces.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Final

from tests.cluster import process
from tests.cluster.command import run
from tests.cluster.errors import ClusterError, RequirementError
from tests.cluster.state import ClusterState
from tests.cluster.topology import Node, nodes

NETNS_DIRECTORY: Final = Path("/var/run/netns")
_SETTINGS: Final = {
    "net/ipv4/ip_forward": "1",
    # A Pod that calls a Service whose endpoint is on the same bridge: without it the answer bypasses the translation.
    "net/bridge/bridge-nf-call-iptables": "1",
}


def create(state: ClusterState) -> None:
    """Everything but the routes to Pods, whose ranges are known once the nodes have registered."""
    delete(state)
    members = nodes(state)
    for node in members:
        _create_node(node)
        _masquerade(node, state)
    for one, other in itertools.combinations(members, 2):
        _link(one, other)
    run("ip", "route", "add", state.service_range, "via", str(members[0].address), "dev", members[0].veth)


def route_pods(state: ClusterState, pod_ranges: Sequence[IPv4Network]) -> None:
    """Lead each node's Pod range to it, from the machine and from the other nodes; in the order of the nodes."""
    members = nodes(state)
    for node, pods in zip(members, pod_ranges, strict=True):
        via = [str(pods), "via", str(node.address)]
        run("ip", "route", "replace", *via, "dev", node.veth)
        for other in members:
            if other is not node:
                run("ip", "-n", other.netns, "route", "replace", *via, "dev", _link_name(node), "onlink")


def delete(state: ClusterState) -> None:
    """The machine's ends go first: routes go with them, and at once. Nothing happens where nothing is."""
    for node in nodes(state):
        if Path("/sys/class/net", node.veth).exists():
            run("ip", "link", "delete", node.veth)
        if (NETNS_DIRECTORY / node.netns).exists():
            run("ip", "netns", "delete", node.netns)


def _create_node(node: Node) -> None:
    try:
        run("ip", "netns", "add", node.netns)
        run("ip", "link", "add", node.veth, "type", "veth", "peer", "name", "eth0", "netns", node.netns)
    except ClusterError as error:
        raise RequirementError(
            f"{error}\nA node needs network namespaces and veth pairs: root with all capabilities "
            "(in a container: --privileged) on a kernel with CONFIG_NET_NS and CONFIG_VETH."
        ) from error
    prefix = node.network.prefixlen
    run("ip", "address", "add", f"{node.gateway}/{prefix}", "dev", node.veth)
    run("ip", "link", "set", node.veth, "up")
    inside = ("ip", "-n", node.netns)
    run(*inside, "address", "add", f"{node.address}/{prefix}", "dev", "eth0")
    run(*inside, "link", "set", "lo", "up")
    run(*inside, "link", "set", "eth0", "up")
    run(*inside, "route", "add", "default", "via", str(node.gateway))
    for name, value in _SETTINGS.items():
        run(*process.netns_prefix(node.netns), "tee", Path("/proc/sys", name), stdin=value)


def _link(one: Node, other: Node) -> None:
    """A direct pair, because over the machine its own forwarding rules would decide."""
    run(
        "ip", "link", "add", _link_name(other), "netns", one.netns,
        "type", "veth", "peer", "name", _link_name(one), "netns", other.netns,
    )  # fmt: skip
    for here, there in ((one, other), (other, one)):
        inside = ("ip", "-n", here.netns)
        run(*inside, "address", "add", str(here.address), "peer", str(there.address), "dev", _link_name(there))
        run(*inside, "link", "set", _link_name(there), "up")


def _link_name(to: Node) -> str:
    return f"to-{to.name}"


def _masquerade(node: Node, state: ClusterState) -> None:
    """Pods keep their address within the cluster, whose routes know it, and take the node's beyond."""
    rule = ["-s", state.pod_range, "!", "-d", str(state.address_range), "-m", "comment", "--comment", "leaves cluster"]
    try:
        run(*process.netns_prefix(node.netns), "iptables", "-w", "-t", "nat", "-A", "POSTROUTING", *rule,
            "-j", "MASQUERADE")  # fmt: skip
    except ClusterError as error:
        raise RequirementError(
            f"{error}\nkube-proxy needs iptables with address translation: a kernel with nf_tables or ip_tables, "
            "nf_nat, xt_comment and xt_MASQUERADE; try `modprobe -a nf_nat xt_comment xt_MASQUERADE`."
        ) from error
