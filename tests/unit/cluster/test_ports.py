"""Ports and address ranges are chosen around whatever this machine already uses."""

from __future__ import annotations

import socket
from ipaddress import IPv4Network
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cluster import ports
from tests.cluster.errors import ClusterError
from tests.cluster.state import ClusterState, Mode

pytestmark = pytest.mark.unit

# A default route, a connected /24, Docker's /16, a VPN's 10.0.0.0/8.
ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
tun0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0
"""


def test_ports_are_distinct_and_can_be_listened_on() -> None:
    found = ports.free_ports(8)
    assert len(set(found)) == 8
    for port in found:
        with socket.create_server((ports.LOOPBACK, port)):
            pass


def test_port_is_left_out_when_somebody_listens_or_another_cluster_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    listened, promised, free = ports.free_ports(3)
    monkeypatch.setattr(ports, "PORT_RANGE", range(min(listened, promised, free), max(listened, promised, free) + 1))
    with socket.create_server((ports.LOOPBACK, listened)):
        others = set(ports.PORT_RANGE) - {listened, promised, free}
        assert ports.free_ports(1, taken=others | {promised}) == [free]
        with pytest.raises(ClusterError, match="only 1 of 2 ports"):
            ports.free_ports(2, taken=others | {promised})


def test_routes_are_read_without_the_default_one() -> None:
    networks = ["192.168.1.0/24", "172.17.0.0/16", "10.0.0.0/8"]
    assert ports.routed_networks(ROUTES) == [IPv4Network(text) for text in networks]


def test_range_is_found_elsewhere_when_a_vpn_takes_all_of_ten() -> None:
    plan = ports.free_plan(ports.routed_networks(ROUTES))
    assert plan.whole.subnet_of(IPv4Network("172.16.0.0/12"))
    assert not plan.whole.overlaps(IPv4Network("172.17.0.0/16"))


def test_no_range_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ClusterError, match="no free /16"):
        ports.free_plan([IPv4Network("0.0.0.0/1"), IPv4Network("128.0.0.0/1")])


@settings(max_examples=25)
@given(st.lists(st.ip_addresses(v=4, network="10.0.0.0/8"), max_size=50))
def test_clusters_never_share_an_address(used: list[object]) -> None:
    occupied = [IPv4Network(f"{address}/32") for address in used]
    first = ports.free_plan(occupied)
    second = ports.free_plan([*occupied, first.whole])
    assert not first.whole.overlaps(second.whole)
    assert not any(first.whole.overlaps(network) for network in occupied)
    parts = [*first.node_networks, first.services, first.pods]
    assert not any(one.overlaps(other) for one, other in combinations(parts, 2))
    assert all(part.subnet_of(first.whole) for part in parts)


def test_networks_of_a_node_cluster_count_even_when_it_does_not_run(tmp_path: Path) -> None:
    node = ClusterState(name="a", mode=Mode.NODE, directory=tmp_path, address_range="10.250.0.0/16")
    loopback = ClusterState(name="b", mode=Mode.CONTROL_PLANE, directory=tmp_path)
    found = ports.networks_in_use([node, loopback])
    assert IPv4Network("10.250.0.0/16") in found
    assert IPv4Network(loopback.service_range) not in found
