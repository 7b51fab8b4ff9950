"""One HTTP request that is answered at protocol level, and the way to answer it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from slipway_runtime.protocol.codec import Buffer


@dataclass(slots=True, eq=False)
class Request:
    method: bytes
    path: bytes
    """As it was sent, without the query."""
    query: bytes
    headers: Mapping[bytes, bytes]
    """Names in lower case; of a repeated header the last value."""
    body: Buffer
    received_at: float
    """`time.perf_counter()` of the last byte."""
    started_at: float
    """Of the first byte."""
    client: str
    """Address, for the access log."""
    request_id: str
    """The client's X-Request-Id when it is printable and short, else a new one."""


class Reply(Protocol):
    """Used from the loop's thread. `send` answers once; later calls are ignored, as are those of a client that left."""

    on_disconnect: Callable[[], None] | None
    """Set by the handler: called when the client leaves before the answer."""

    def send(
        self, status: int, content_type: bytes, parts: Sequence[Buffer], headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """Content-Length, Date, Connection and X-Request-Id are added. The parts are written or copied before this
        returns."""

    def charge(self, size_bytes: int) -> None:
        """For what grows out of the request, such as a decompressed body; given back with the answer. Raises `ApiError`
        when the memory that requests share does not suffice."""


Handler = Callable[[Request, Reply], None]
"""Never raises and never blocks; it answers by `Reply.send`, now or later."""
