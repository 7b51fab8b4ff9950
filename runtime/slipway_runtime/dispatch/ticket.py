"""One prediction request inside the runtime, from decoded inputs to outputs or an error."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol

from slipway_runtime.models.datatypes import Array
from slipway_runtime.protocol.errors import ApiError
from slipway_runtime.telemetry.record import RequestRecord


@dataclass(slots=True, eq=False)
class Ticket:
    """`done` is called once, in the loop's thread; outputs are borrowed and only valid during that call."""

    inputs: Mapping[str, Array]
    """They fit the signature. For a batched model the rows come first and every input has as many."""
    done: Callable[[Ticket], None]
    priority: int = 0
    """The higher goes first."""
    timeout_seconds: float | None = None
    """The client's own, from `offered_at`."""
    offered_at: float = field(default_factory=perf_counter)
    """When the request's last byte was here: the latency target and the timeouts count from it."""
    outputs: Mapping[str, Array] | None = None
    error: ApiError | None = None
    started_at: float = 0.0
    """When its first batch began; 0 until then."""
    computed_at: float = 0.0
    """When its last batch ended; 0 where it was answered in the same moment."""
    ended_at: float = 0.0
    compute_seconds: float = 0.0
    """Of all batches with rows of it."""
    batch_rows: int = 0
    """Rows of the last batch it was part of."""
    worker: str = ""
    """Of the last batch: `Execution.worker`."""
    attempts: int = 0
    """Batches with its rows that a worker did not survive."""
    rows: int = 1
    """This and the rest is filled in by the dispatcher."""
    bucket: Hashable = None
    row_elements: float = 1.0
    deadline_at: float = 0.0
    empty: bool = False
    """It came with no rows, which no batch can have: it is computed with one, of which nothing is answered."""
    joined: Any = None
    """What is there of an answer that comes in several batches."""

    @property
    def queue_seconds(self) -> float:
        """From `offered_at` to the first batch, or to the end where there was none."""
        return max(0.0, (self.started_at or self.ended_at) - self.offered_at)

    @property
    def stage(self) -> str:
        """In which of `STAGES` it is, while it has not ended."""
        return "compute" if self.started_at else "queue"

    def tell(self, record: RequestRecord) -> None:
        """What became of it, once it has ended."""
        record.rows, record.batch_rows = self.rows, self.batch_rows
        record.batch_started_at, record.worker = self.started_at, self.worker
        record.queue_seconds, record.compute_seconds = self.queue_seconds, self.compute_seconds
        record.timeout_seconds = self.timeout_seconds


class Dispatch(Protocol):
    """What protocols need of the dispatcher. Used from the event loop's thread."""

    def submit(self, ticket: Ticket) -> None:
        """Queues the ticket, or answers it with an error such as 429, never before this returns."""

    def cancel(self, ticket: Ticket) -> None:
        """The client left: a queued ticket is forgotten and `done` is not called any more."""
