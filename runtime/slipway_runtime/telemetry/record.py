"""What is known about one request apart from its content. Filled on its way, read once at its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final

CLIENT_CLOSED: Final = 499
"""Not an HTTP status: nobody is left to read one. Source: nginx."""


@dataclass(slots=True, eq=False)
class RequestRecord:
    """Times are seconds of `time.perf_counter()`; a stage that was not reached keeps 0."""

    protocol: str = "other"
    """v2, v1, predict or grpc once it is clear that the request is a prediction."""
    method: str = ""
    path: str = ""
    """Without the query, which may hold secrets."""
    client: str = ""
    request_id: str = ""
    status: int = 0
    """HTTP status; for gRPC the one that stands for the same error. 499 when the client left."""
    code: str = "ok"
    """The error's code, or ok."""
    trace_id: str = ""
    """32 hex digits; empty without a trace. These four are set by `Telemetry.begin`."""
    parent_span_id: str = ""
    """16 hex digits of the caller's span; empty where the trace begins here."""
    span_id: str = ""
    """16 hex digits of this request's own span."""
    trace_flags: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    rows: int = 0
    batch_rows: int = 0
    """Rows of the last batch it was part of."""
    batch_started_at: float = 0.0
    """`Ticket.started_at`: the requests of one batch share it, and by that their spans are linked to it."""
    started_at: float = field(default_factory=perf_counter)
    read_seconds: float = 0.0
    decode_seconds: float = 0.0
    queue_seconds: float = 0.0
    compute_seconds: float = 0.0
    encode_seconds: float = 0.0
    total_seconds: float = 0.0
    """Unset (0): from `started_at` to `Telemetry.finish`."""
    worker: str = ""
    """Number of the worker process that computed it; empty where the gateway did."""
    timeout_seconds: float | None = None
    """How long the client itself said that it waits."""
    left_in: str = ""
    """The stage that the client left in, where it did not wait for the answer."""

    def leave(self, stage: str) -> None:
        """The client is gone; its request was in `stage`."""
        self.status, self.code, self.left_in = CLIENT_CLOSED, "client_closed", stage


@dataclass(slots=True, eq=False)
class RequestGroup:
    """Requests of one batch that were read, computed and answered with 200 together, after they had come whole.

    Each of the lists has an entry for every request.
    """

    protocol: str
    bytes_in: Sequence[int]
    bytes_out: Sequence[int]
    queue_seconds: Sequence[float]
    total_seconds: Sequence[float]
    decode_seconds: float
    compute_seconds: float
    encode_seconds: float
    """These three are the batch's: every request waited for all of it."""
    record: Callable[[int], RequestRecord]
    """Of one of them, for who wants to know it in detail."""
