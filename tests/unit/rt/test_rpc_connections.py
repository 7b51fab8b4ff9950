"""What is known of gRPC connections from outside: who is there, and how much came that nobody has read."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from ipaddress import ip_address

import pytest

from slipway_runtime.rpc.connections import Connection, Connections
from slipway_runtime.rpc.sockets import Address, address_of, received_bytes

pytestmark = pytest.mark.unit

PEER = "ipv4:10.0.0.1:4711"
ADDRESS: Address = (ip_address("10.0.0.1"), 4711)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (PEER, ADDRESS),
        ("ipv6:%5B::1%5D:80", (ip_address("::1"), 80)),
        ("ipv6:[::ffff:10.0.0.1]:4711", ADDRESS),
        ("unix:/run/socket", None),
        ("ipv4:nonsense:80", None),
    ],
)
def test_peers_are_read_as_grpc_writes_them(peer: str, address: Address | None) -> None:
    assert address_of(peer) == address


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_the_kernel_tells_what_came_by_each_connection(family: socket.AddressFamily, host: str) -> None:
    with socket.create_server((host, 0), family=family) as listening:
        port = listening.getsockname()[1]
        assert received_bytes(port) == {}
        with socket.create_connection((host, port)) as client:
            accepted, _ = listening.accept()
            with accepted:
                client.sendall(b"x" * 12_345)
                accepted.recv(12_345, socket.MSG_WAITALL)
                assert received_bytes(port) == {(ip_address(host), client.getsockname()[1]): 12_345}


def looked(connection: Connection, came: int) -> int:
    assert connection.look({ADDRESS: came})
    return connection.unread_bytes


def test_what_came_and_was_not_read_is_counted_while_somebody_waits_for_it() -> None:
    connection = Connection(PEER)
    connection.readers = 1
    assert looked(connection, 1_000_000) == 1_000_000
    connection.read(500_000)
    assert 470_000 < looked(connection, 1_000_000) < 500_000
    assert 1_470_000 < looked(connection, 2_000_000) < 1_500_000
    connection.readers = 0
    assert looked(connection, 3_000_000) == 0
    connection.readers = 1
    assert looked(connection, 3_500_000) == 500_000


def test_a_message_that_unfolded_hides_nothing_that_comes_after_it() -> None:
    connection = Connection(PEER)
    connection.readers = 1
    connection.read(100_000_000)
    assert looked(connection, 10_000) == 0
    assert looked(connection, 1_010_000) == 1_000_000


def test_places_of_connections_are_free_once_the_kernel_has_forgotten_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slipway_runtime.rpc.connections._LOOK_SECONDS", -1)
    received: Mapping[Address, int] | None = {ADDRESS: 0}
    connections = Connections(1)
    connections.received = lambda: received
    first = connections.find(PEER)
    assert first is not None
    assert connections.find(PEER) is first
    assert connections.find("ipv4:10.0.0.2:1") is None
    received = {}
    assert connections.find("ipv4:10.0.0.2:1") is not None


def test_nobody_is_kept_out_where_the_system_does_not_tell_who_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slipway_runtime.rpc.connections._LOOK_SECONDS", -1)
    connections = Connections(1)
    assert connections.find(PEER) is not None
    assert connections.find("ipv4:10.0.0.2:1") is not None
