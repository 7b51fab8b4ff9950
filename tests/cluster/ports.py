"""Choose ports and address ranges that nobody on this machine uses, so that clusters run side by side."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, collapse_addresses
from pathlib import Path
from typing import Final, NamedTuple

from tests.cluster.errors import ClusterError
from tests.cluster.state import ClusterState, load_all

LOOPBACK: Final = "127.0.0.1"
# Below the range from which the kernel takes the local port of outgoing connections, and below NodePorts.
PORT_RANGE: Final = range(20000, 30000)

# Private ranges first; the last two serve machines whose VPN routes all of those.
_POOLS: Final = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15")


class AddressPlan(NamedTuple):
    """One /16 per cluster: up to 64 node networks of /24, then Services (/18), then Pods (/17)."""

    whole: IPv4Network

    @property
    def node_networks(self) -> list[IPv4Network]:
        return list(next(self.whole.subnets(new_prefix=18)).subnets(new_prefix=24))

    @property
    def services(self) -> IPv4Network:
        return list(self.whole.subnets(new_prefix=18))[1]

    @property
    def pods(self) -> IPv4Network:
        return list(self.whole.subnets(new_prefix=17))[1]


def free_ports(count: int, taken: Iterable[int] = ()) -> list[int]:
    """Loopback ports; the caller holds the allocation lock until they are saved in a state."""
    excluded = set(taken)
    free: list[int] = []
    for port in random.sample(PORT_RANGE, len(PORT_RANGE)):
        if port not in excluded and _is_free(port):
            free.append(port)
            if len(free) == count:
                return free
    raise ClusterError(
        f"only {len(free)} of {count} ports are free on {LOOPBACK} between {PORT_RANGE[0]} and {PORT_RANGE[-1]}; "
        "stop clusters with `python -m tests.cluster down --all`."
    )


def free_port() -> int:
    """For a program that a test starts beside the clusters, whose ports stay theirs while a server of theirs is down.

    Chosen at random, so that lanes of tests which ask at the same time are told different ones.
    """
    return free_ports(1, ports_in_use(load_all()))[0]


def ports_in_use(states: Iterable[ClusterState]) -> set[int]:
    return {port for state in states for port in state.ports.values()}


def free_plan(used: Iterable[IPv4Network]) -> AddressPlan:
    """The first /16 that overlaps none of `used`; the caller holds the allocation lock until it is saved."""
    occupied = list(collapse_addresses(used))
    for candidate in _candidates():
        if not any(candidate.overlaps(network) for network in occupied):
            return AddressPlan(candidate)
    raise ClusterError(
        f"no free /16 in {', '.join(_POOLS)}: routes of this machine or other clusters cover them all. "
        "Stop clusters with `python -m tests.cluster down --all`."
    )


def networks_in_use(states: Iterable[ClusterState]) -> list[IPv4Network]:
    """Of other clusters, whether or not they run, and of this machine's routes, which include its interfaces."""
    ranges = [
        text for state in states for text in (state.address_range, *state.node_ranges) if text and state.mode == "node"
    ]
    return [IPv4Network(text) for text in ranges] + routed_networks(Path("/proc/net/route").read_text(encoding="ascii"))


def routed_networks(table: str) -> list[IPv4Network]:
    """Every destination in a /proc/net/route but the default one; its columns are little-endian hexadecimal."""
    networks: list[IPv4Network] = []
    for line in table.splitlines()[1:]:
        columns = line.split()
        destination, mask = (int.from_bytes(bytes.fromhex(columns[i])[::-1], "big") for i in (1, 7))
        if mask:
            networks.append(IPv4Network((destination, mask.bit_count())))
    return networks


def _candidates() -> Iterator[IPv4Network]:
    for pool in map(IPv4Network, _POOLS):
        # From the upper end: hand-made networks and other tools' defaults cluster at the lower one.
        yield from reversed(list(pool.subnets(new_prefix=16)))


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As Go's listeners set it: a closed connection's remains don't count, a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
