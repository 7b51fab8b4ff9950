"""The shortest way: all that came in one turn is one batch, run and answered before anything else happens.

For an engine that computes inside the event loop, where the hand-over would be most of the work. Nothing is queued, so
nothing is booked as queued: the scheduler is asked once for all requests and told once how it went.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from slipway_runtime.batching.scheduler import Scheduler
from slipway_runtime.batching.work import Batch
from slipway_runtime.dispatch.assembly import Arrays, mismatch, stack
from slipway_runtime.dispatch.counts import Close, DispatchCounts
from slipway_runtime.dispatch.ticket import Ticket
from slipway_runtime.engines.engine import Engine, Execution, LoadedModel

_NEVER: Final = float("inf")

log = logging.getLogger(__name__)


class Express:
    def __init__(
        self,
        engine: Engine,
        facts: LoadedModel,
        scheduler: Scheduler,
        counts: DispatchCounts,
        answer: Callable[[Ticket], None],
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._scheduler = scheduler
        self._counts = counts
        self._answer = answer
        self._clock = clock
        self._names = tuple(spec.name for spec in facts.signature.outputs)
        policy = scheduler.policy
        self._target_seconds = policy.target.seconds if policy.target else _NEVER
        self._limit_seconds = policy.timeout_seconds

    def run(self, tickets: Sequence[Ticket], now: float) -> bool:
        """False when they have to go the usual way, as those of a batch that failed do: there it fails again, and is
        searched for the one to blame. `tickets` have their deadlines, which lie ahead."""
        first = tickets[0]
        bucket, rows, due_at = first.bucket, 0, _NEVER
        for ticket in tickets:
            if ticket.bucket != bucket or ticket.empty:
                return False
            rows += ticket.rows
            due_at = min(due_at, ticket.deadline_at, ticket.offered_at + self._target_seconds)
        batch = self._scheduler.at_once(bucket, rows, len(tickets), due_at, now)
        if batch is None:
            return False
        try:
            inputs = stack(tickets, batch.padded_rows, self._engine.allocate)
        except (MemoryError, ValueError):
            return False
        execution = Execution(inputs, _ignore, self._limit_seconds, batch.predicted_seconds)
        self._engine.start(execution)
        outputs = execution.outputs
        if execution.error is not None or outputs is None or mismatch(outputs, self._names, batch.padded_rows):
            self._engine.release(execution)
            return False
        self._learn(batch, tickets)
        self._hand_out(batch, tickets, outputs, execution.compute_seconds)
        self._engine.release(execution)
        return True

    def _learn(self, batch: Batch, tickets: Sequence[Ticket]) -> None:
        now = self._clock()
        limit = self._scheduler.lanes[batch.bucket].capacity.batch_limit
        self._counts.began(batch, Close.FULL if batch.rows >= limit else Close.IDLE, limit)
        self._counts.ended(batch, now)
        late = 0
        if self._target_seconds != _NEVER:
            late = sum([now > ticket.offered_at + self._target_seconds for ticket in tickets])
        self._scheduler.complete_at_once(batch, len(tickets), late, now)

    def _hand_out(self, batch: Batch, tickets: Sequence[Ticket], outputs: Arrays, compute_seconds: float) -> None:
        at = 0
        for ticket in tickets:
            rows = ticket.rows
            ticket.started_at = batch.started_at
            ticket.compute_seconds = compute_seconds
            ticket.batch_rows = batch.rows
            whole = rows == batch.padded_rows
            ticket.outputs = outputs if whole else {name: outputs[name][at : at + rows] for name in self._names}
            at += rows
            self._answer(ticket)


def _ignore(execution: Execution) -> None:
    """The caller waits for the end itself."""
