"""What the system knows of a connection's socket and the loop does not tell."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import termios
from typing import Final

_TCP_CLOSE: Final = 7
"""State of a socket whose peer has reset it. Source: linux/net/tcp_states.h."""


def has_input(transport: asyncio.Transport) -> bool:
    """Whether bytes have arrived that the loop has not been told of yet."""
    sock = transport.get_extra_info("socket")
    return sock is not None and sock.fileno() >= 0 and any(fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4)))


def was_reset(transport: asyncio.Transport) -> bool:
    sock: socket.socket | None = transport.get_extra_info("socket")
    return sock is not None and sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE
