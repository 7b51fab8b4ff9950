"""The shortest way: all that came in one turn is one batch, run and answered before anything else happens.

For an engine that computes inside the event loop, where the hand-over would be most of the work. Nothing is queued, so
nothing is booked as queued: the scheduler is asked once for all requests and told once how it went.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Final, Protocol

from slipway_runtime.batching.scheduler import Scheduler
from slipway_runtime.batching.work import Batch
from slipway_runtime.dispatch.assembly import Allocate, Arrays, mismatch, stack
from slipway_runtime.dispatch.counts import Close, DispatchCounts
from slipway_runtime.dispatch.ticket import Ticket
from slipway_runtime.engines.engine import Engine, Execution, LoadedModel

_NEVER: Final = float("inf")


class Load(Protocol):
    """Requests that came together and whose rows may share a batch."""

    @property
    def bucket(self) -> Hashable: ...

    @property
    def rows(self) -> int: ...

    @property
    def offered_at(self) -> Sequence[float]:
        """Of each request; none is empty."""

    @property
    def deadline_at(self) -> float:
        """The first of theirs."""

    def gather(self, padded_rows: int, allocate: Allocate) -> Arrays:
        """The batch's inputs. Raises `MemoryError` or `ValueError` where they cannot be made one."""

    def hand_out(self, outputs: Arrays, batch: Batch, compute_seconds: float) -> bool:
        """Answers every request. `outputs` are borrowed. False: nobody was answered, and nothing happened."""


class Express:
    def __init__(
        self,
        engine: Engine,
        facts: LoadedModel,
        scheduler: Scheduler,
        counts: DispatchCounts,
        clock: Callable[[], float],
        later: Callable[..., object],
    ) -> None:
        """`later` is the loop's `call_soon`."""
        self._engine = engine
        self._scheduler = scheduler
        self._counts = counts
        self._clock = clock
        self._later = later
        self._names = tuple(spec.name for spec in facts.signature.outputs)
        self._limit_seconds = scheduler.policy.timeout_seconds

    def run(self, load: Load, now: float) -> bool:
        """False when they have to go the usual way, as those of a batch that failed do: there it fails again, and is
        searched for the one to blame. The deadlines lie ahead."""
        requests = len(load.offered_at)
        due_at = min(load.deadline_at, min(load.offered_at) + self._scheduler.target_seconds)
        batch = self._scheduler.at_once(load.bucket, load.rows, requests, due_at, now)
        if batch is None:
            return False
        try:
            inputs = load.gather(batch.padded_rows, self._engine.allocate)
        except (MemoryError, ValueError):
            return False
        execution = Execution(inputs, _ignore, self._limit_seconds, batch.predicted_seconds)
        self._engine.start(execution)
        outputs = execution.outputs
        well = execution.error is None and outputs is not None and not mismatch(outputs, self._names, batch.padded_rows)
        if well:
            assert outputs is not None
            ended_at = self._clock()
            well = load.hand_out(outputs, batch, execution.compute_seconds)
            if well:
                # The transports send at the end of this turn, and no batch is decided on before the next one.
                self._later(self._learn, batch, load.offered_at, ended_at)
        self._engine.release(execution)
        return well

    def _learn(self, batch: Batch, offered_at: Sequence[float], now: float) -> None:
        limit = self._scheduler.lanes[batch.bucket].capacity.batch_limit
        self._counts.began(batch, Close.FULL if batch.rows >= limit else Close.IDLE, limit)
        self._counts.ended(batch, now)
        self._counts.waits.note(0.0, now)
        late = 0
        target_seconds = self._scheduler.target_seconds
        if target_seconds != _NEVER:
            late = sum([now > offered + target_seconds for offered in offered_at])
        self._scheduler.complete_at_once(batch, len(offered_at), late, now)


class TicketLoad:
    """Tickets that have their deadlines."""

    def __init__(self, tickets: Sequence[Ticket], names: Sequence[str], answer: Callable[[Ticket], None]) -> None:
        first = tickets[0]
        self._tickets = tickets
        self._names = names
        self._answer = answer
        self.bucket = first.bucket
        self.rows = sum([ticket.rows for ticket in tickets])
        self.offered_at = [ticket.offered_at for ticket in tickets]
        self.deadline_at = min([ticket.deadline_at for ticket in tickets])

    @staticmethod
    def fit(tickets: Sequence[Ticket]) -> bool:
        bucket = tickets[0].bucket
        return all(ticket.bucket == bucket and not ticket.empty for ticket in tickets)

    def gather(self, padded_rows: int, allocate: Allocate) -> Arrays:
        return stack(self._tickets, padded_rows, allocate)

    def hand_out(self, outputs: Arrays, batch: Batch, compute_seconds: float) -> bool:
        at = 0
        for ticket in self._tickets:
            rows = ticket.rows
            ticket.started_at = batch.started_at
            ticket.compute_seconds = compute_seconds
            ticket.batch_rows = batch.rows
            whole = rows == batch.padded_rows
            ticket.outputs = outputs if whole else {name: outputs[name][at : at + rows] for name in self._names}
            at += rows
            self._answer(ticket)
        return True


def _ignore(execution: Execution) -> None:
    """The caller waits for the end itself."""
