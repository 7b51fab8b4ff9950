"""One HTTP request that is answered at protocol level, and the way to answer it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from slipway_runtime.http.head import Head
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


class Caller(Protocol):
    """A connection whose request a shortcut took."""

    client: str
    waits: bool
    """For the answer of the shortcut. False once the client is gone."""

    def answer(self, text: bytes, size_bytes: int) -> None:
        """`text` is the whole answer as it goes out, `size_bytes` the body's part."""

    def go_the_usual_way(self, data: bytes, received_at: float) -> None:
        """`data`, the whole request, is handled as if the shortcut had not taken it."""


class Shortcut(Protocol):
    """Answers requests together that came together, without the steps that each would take alone. It never has to: what
    it does not take or gives back goes the usual way, with the same outcome."""

    def suits(self, head: Head) -> bool:
        """Whether requests with this head may be taken at all."""

    def take(self, caller: Caller, data: bytes, start: int, request_id: bytes) -> bool:
        """`data` is a whole request whose body begins at `start`, on a connection that waits for no other answer.
        `request_id` is empty where the client gave none that is printable and short. True: the caller hears of it
        before the loop's next turn ends."""

    def give_back(self, caller: Caller) -> None:
        """The caller cannot wait for the others: it goes the usual way before this returns."""
