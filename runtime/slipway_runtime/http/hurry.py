"""The request of one connection that a shortcut took: it waits for its answer outside of the line of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slipway_runtime.http.exchange import Shortcut

if TYPE_CHECKING:
    from slipway_runtime.http.connection import Connection
    from slipway_runtime.http.server import HttpServer


class Hurry:
    """`exchange.Caller`. One for each connection, which has one such request at a time."""

    __slots__ = ("_charged_bytes", "_connection", "_server", "_shortcut", "client", "waits")

    def __init__(self, server: HttpServer, connection: Connection) -> None:
        self._server = server
        self._connection = connection
        self._shortcut: Shortcut | None = None
        self._charged_bytes = 0
        self.client = ""
        self.waits = False

    def begin(self, shortcut: Shortcut, charged_bytes: int) -> None:
        """`shortcut` took it, and the budget was charged for it."""
        self._shortcut = shortcut
        self._charged_bytes = charged_bytes
        self.waits = True

    def end(self) -> None:
        """Nobody waits for it any more. What it was charged with is given back."""
        self.waits = False
        self._server.budget.give(self._charged_bytes)
        self._charged_bytes = 0

    def stop(self) -> None:
        """It is to be in line before anything else happens on the connection."""
        if self.waits and self._shortcut is not None:
            self._shortcut.give_back(self)

    def answer(self, text: bytes, size_bytes: int) -> None:
        self.end()
        self._connection.write_hurried(text, size_bytes)

    def go_the_usual_way(self, data: bytes, received_at: float) -> None:
        counts = self._server.counts
        counts.requests -= 1
        counts.request_bytes -= self._charged_bytes
        self.end()
        self._connection.receive_again(data, received_at)
