"""One prediction request inside the runtime, from decoded inputs to outputs or an error."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

from slipway_runtime.models.datatypes import Array
from slipway_runtime.protocol.errors import ApiError


@dataclass(slots=True, eq=False)
class Ticket:
    """`done` is called once, in the loop's thread; outputs are borrowed and only valid during that call."""

    inputs: Mapping[str, Array]
    """They fit the signature. For a batched model the rows come first and every input has as many."""
    done: Callable[[Ticket], None]
    rows: int = 1
    bucket: Hashable = None
    """Shapes of one row where the signature leaves them open; see `dispatch.buckets`."""
    row_elements: float = 1.0
    priority: int = 0
    """The higher goes first."""
    timeout_seconds: float | None = None
    """The client's own, from `offered_at`."""
    outputs: Mapping[str, Array] | None = None
    error: ApiError | None = None
    offered_at: float = field(default_factory=perf_counter)
    started_at: float = 0.0
    """When its first batch began; 0 until then."""
    ended_at: float = 0.0
    compute_seconds: float = 0.0
    batch_rows: int = 0
    """Rows of the last batch it was part of."""
    attempts: int = 0
    """Batches with its rows that a worker did not survive."""


class Dispatch(Protocol):
    """What protocols need of the dispatcher. Used from the event loop's thread."""

    def submit(self, ticket: Ticket) -> None:
        """Queues the ticket, or answers it at once with an error such as 429."""

    def cancel(self, ticket: Ticket) -> None:
        """The client left: a queued ticket is forgotten and `done` is not called any more."""
