"""The connections that calls come by: how many may be open, and what came by each that nobody has read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Final

from slipway_runtime.rpc.sockets import Address, address_of

Look = Callable[[], Mapping[Address, int] | None]
"""Bytes received by all open connections of the port; None where the system does not tell."""

_LOOK_SECONDS: Final = 0.25
_OVERHEAD: Final = 1.04
_OVERHEAD_BYTES: Final = 4096
"""What frames, TLS and metadata add to a message: a share of it, and so much for each."""


class Connection:
    """Bytes that came and bytes that were read of them, as messages."""

    __slots__ = ("_address", "_read", "_received", "readers", "unread_bytes")

    def __init__(self, peer: str) -> None:
        self._address = address_of(peer)
        self._received = 0
        self._read = 0.0
        self.readers = 0
        """Calls that wait for a message now."""
        self.unread_bytes = 0
        """At most so much lies in gRPC's core, for messages that are not whole yet. As of the last look."""

    def read(self, message_bytes: int) -> None:
        self._read += message_bytes * _OVERHEAD + _OVERHEAD_BYTES

    def look(self, received: Mapping[Address, int]) -> bool:
        """False: it is closed."""
        came = None if self._address is None else received.get(self._address)
        if came is None:
            self.unread_bytes = 0
            return False
        more = came - self._received
        self._received = came
        # A compressed message is read as more than came. That must not hide what comes after it.
        self.unread_bytes = max(0, int(self.unread_bytes + more - self._read)) if self.readers else 0
        self._read = 0.0
        return True


class Connections:
    """Used from the loop's thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.received: Look = lambda: None
        """Set once the port listens."""
        self._known: dict[str, Connection] = {}
        self._looked_at = float("-inf")

    def find(self, peer: str) -> Connection | None:
        """The one with this peer, as gRPC writes it; None beyond the first `limit` of those that are open."""
        connection = self._known.get(peer)
        if connection is None:
            if len(self._known) >= self._limit and monotonic() - self._looked_at > _LOOK_SECONDS:
                self.look()
            if len(self._known) >= self._limit:
                return None
            connection = self._known[peer] = Connection(peer)
        return connection

    def look(self) -> list[Connection]:
        """Brings `unread_bytes` up to date and forgets those that were closed. All that are left."""
        self._looked_at = monotonic()
        received = self.received()
        if received is None:
            # Where the system does not tell who left, nobody is kept out for it.
            self._known = {peer: connection for peer, connection in self._known.items() if connection.readers}
            return []
        self._known = {peer: connection for peer, connection in self._known.items() if connection.look(received)}
        return list(self._known.values())
