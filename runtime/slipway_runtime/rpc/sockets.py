"""The connections of a port as the kernel knows them: who is at the other end, and how much has come from there.

gRPC's core tells neither. Source: https://man7.org/linux/man-pages/man7/sock_diag.7.html
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import unquote

_SOCK_DIAG: Final = 4
_BY_FAMILY: Final = 20
_DUMP: Final = 0x301
_ERROR: Final = 2
_DONE: Final = 3
_ESTABLISHED: Final = 1 << 1
_INFO: Final = 2
"""The attribute with `struct tcp_info`."""
_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_COUNT: Final = struct.Struct("=Q")
_MESSAGE_BYTES: Final = 72
_RECEIVED_AT: Final = 128
"""`tcpi_bytes_received`."""
_ANSWER_BYTES: Final = 1 << 18

Address = tuple[IPv4Address | IPv6Address, int]
"""IPv4 is IPv4, by whatever kind of socket it came."""


def received_bytes(port: int) -> dict[Address, int] | None:
    """Bytes that each connection established on a local port has brought so far; None where nobody tells."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
            kernel.settimeout(1)
            return {
                peer: count
                for family in (socket.AF_INET, socket.AF_INET6)
                for peer, count in _dump(kernel, family, port)
            }
    except (OSError, AttributeError):  # another system, or a sandbox
        return None


def address_of(peer: str) -> Address | None:
    """None for what is no TCP."""
    ends = split_peer(peer)
    try:
        return None if ends is None else (_plain(ip_address(ends[0])), int(ends[1]))
    except ValueError:
        return None


def split_peer(peer: str) -> tuple[str, str] | None:
    """Address and port of `ipv4:127.0.0.1:4711` or `ipv6:%5B::1%5D:4711`, as gRPC writes it; None for no TCP."""
    kind, _, rest = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return None
    host, _, port = unquote(rest).rpartition(":")
    return host.strip("[]"), port


def _dump(kernel: socket.socket, family: int, port: int) -> Iterator[tuple[Address, int]]:
    wanted = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 1 << (_INFO - 1), 0, _ESTABLISHED)
    ends = struct.pack("!HH", port, 0) + bytes(36) + b"\xff" * 8
    kernel.send(_HEADER.pack(_HEADER.size + len(wanted) + len(ends), _BY_FAMILY, _DUMP, 1, 0) + wanted + ends)
    while True:
        data = kernel.recv(_ANSWER_BYTES)
        while data:
            length, kind, *_ = _HEADER.unpack_from(data)
            if kind == _DONE:
                return
            if kind == _ERROR:
                raise OSError("The kernel does not list its sockets.")
            yield _read(family, data[_HEADER.size : length])
            data = data[_aligned(length) :]


def _read(family: int, message: bytes) -> tuple[Address, int]:
    (port,) = struct.unpack_from("!H", message, 6)
    address = ip_address(message[24 : 28 if family == socket.AF_INET else 40])
    position, received = _MESSAGE_BYTES, 0
    while position + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, position)
        if kind == _INFO and length >= _ATTRIBUTE.size + _RECEIVED_AT + _COUNT.size:
            (received,) = _COUNT.unpack_from(message, position + _ATTRIBUTE.size + _RECEIVED_AT)
        position += max(_aligned(length), _ATTRIBUTE.size)
    return (_plain(address), port), received


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
