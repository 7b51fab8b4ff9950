"""Drives the scheduler in real time: tickets in, batches to the runner, answers out.

All that arrives in one turn of the event loop is offered before anything is decided, so requests that came together
share a batch without any waiting window. One timer serves expiry, deadlines and deliberate waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Final

from slipway_runtime.batching.scheduler import Scheduler
from slipway_runtime.batching.work import Batch, Reason, Refusal, Request
from slipway_runtime.dispatch import answers
from slipway_runtime.dispatch.buckets import Buckets, shares_batches
from slipway_runtime.dispatch.counts import Close, DispatchCounts
from slipway_runtime.dispatch.express import Express, Load, TicketLoad
from slipway_runtime.dispatch.runner import Runner
from slipway_runtime.dispatch.ticket import Ticket
from slipway_runtime.engines.engine import Engine, LoadedModel
from slipway_runtime.protocol.errors import ApiError

_LEAST_TIMER_SECONDS: Final = 0.001
_RECHECK_SECONDS: Final = 0.5
"""How often an engine that takes nothing and runs nothing is looked at."""

log = logging.getLogger(__name__)


class Dispatcher:
    """Implements `Dispatch`. To be made and used in the event loop's thread."""

    def __init__(
        self,
        engine: Engine,
        facts: LoadedModel,
        scheduler: Scheduler,
        counts: DispatchCounts,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        if not shares_batches(facts) and scheduler.policy.max_batch_size != 1:
            raise ValueError("requests to this model cannot share batches, so the largest batch has to be 1")
        self.scheduler = scheduler
        self._engine = engine
        self._counts = counts
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._buckets = Buckets(facts)
        self._runner = Runner(engine, facts, scheduler, counts, answer=self._answer, freed=self._turn, clock=clock)
        self._express = Express(engine, facts, scheduler, counts, clock, self._loop.call_soon)
        self._names = tuple(spec.name for spec in facts.signature.outputs)
        self._timeout_seconds = scheduler.policy.timeout_seconds
        self._arrived: list[Ticket] = []
        self._unanswered = 0
        self._turn_due = False
        self._turning = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._woken = False
        engine.on_available(self._turn)

    @property
    def unanswered(self) -> int:
        """Tickets that were submitted and neither answered nor cancelled."""
        return self._unanswered

    def submit(self, ticket: Ticket) -> None:
        self._unanswered += 1
        self._arrived.append(ticket)
        if not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def cancel(self, ticket: Ticket) -> None:
        if ticket.ended_at:
            return
        ticket.ended_at = self._clock()
        self._unanswered -= 1
        self.scheduler.cancel(ticket)

    def abandon(self, error: Callable[[], ApiError]) -> None:
        """Answers everything that waits or runs; nothing more is computed for it."""
        arrived, self._arrived = self._arrived, []
        for ticket in (*arrived, *self._queued(), *self._runner.tickets()):
            self._answer(ticket, error())
        self._runner.forget_waiting()

    def _turn(self) -> None:
        """Takes in what arrived, answers what is over, starts what can start."""
        if self._turning:
            return
        self._turning = True
        self._turn_due = False
        try:
            now = self._clock()
            arrived = self._take_arrived(now)
            if arrived and self.idle and self._run_tickets(arrived, now):
                return
            for ticket in arrived:
                self._offer(ticket, now)
            self._advance(now)
        finally:
            self._turning = False

    def run_at_once(self, load: Load, now: float) -> bool:
        """Whether `load` was run and answered. Otherwise its requests are to be submitted as tickets. Those that were
        submitted in this turn wait for one batch at most, as they would if it had begun a moment earlier."""
        return self.idle and not self._turning and self._express.run(load, now)

    def _run_tickets(self, tickets: Sequence[Ticket], now: float) -> bool:
        if not TicketLoad.fit(tickets):
            return False
        return self._express.run(TicketLoad(tickets, self._names, self._answer), now)

    @property
    def idle(self) -> bool:
        """Nothing waits or runs, and what is started ends before anything else happens."""
        return self._engine.immediate and not self._runner.has_begun and not self.scheduler.queued_requests

    def _take_arrived(self, now: float) -> list[Ticket]:
        """Those that somebody still waits for, with what is to be known of each."""
        arrived, self._arrived = self._arrived, []
        taken = []
        for ticket in arrived:
            if ticket.ended_at:
                continue
            self._buckets.assign(ticket)
            seconds = self._timeout_seconds
            if ticket.timeout_seconds is not None and ticket.timeout_seconds < seconds:
                seconds = ticket.timeout_seconds
            ticket.deadline_at = ticket.offered_at + seconds
            if ticket.deadline_at <= now:
                self._answer(ticket, answers.deadline(seconds, running=False))
            else:
                taken.append(ticket)
        return taken

    def _offer(self, ticket: Ticket, now: float) -> None:
        request = Request(
            ticket,
            ticket.rows,
            ticket.bucket,
            ticket.row_elements,
            ticket.priority,
            ticket.deadline_at - now,
            now - ticket.offered_at,
        )
        refusal = self.scheduler.offer(request, now)
        if refusal is not None:
            self._answer(ticket, answers.refused(refusal))

    def _advance(self, now: float) -> None:
        runner, scheduler, engine = self._runner, self.scheduler, self._engine
        wake_at: float | None = None
        runner.expire(now)
        while engine.available > 0 or engine.room_ahead > 0:
            if runner.start_waiting():
                continue
            decision = scheduler.decide(now, ahead=engine.available == 0)
            for refusal in decision.dropped:
                self._drop(refusal)
            if decision.batch is None:
                wake_at = decision.wake_at
                break
            self._count(decision.batch)
            runner.begin(decision.batch)
            now = self._clock()
        else:
            for refusal in scheduler.expire(now):
                self._drop(refusal)
            if not engine.alive:
                self._fail_waiting()
        self._woken = False
        self._arm(now, wake_at)

    def _drop(self, refusal: Refusal) -> None:
        ticket = refusal.request.id
        assert isinstance(ticket, Ticket)
        if self._engine.available == 0 and not self._runner.busy:
            error = answers.worker_restarted()
        elif refusal.reason is Reason.DEADLINE_IN_QUEUE:
            error = answers.deadline(ticket.deadline_at - ticket.offered_at, running=bool(ticket.started_at))
        else:
            error = answers.refused(refusal)
        self._answer(ticket, error)

    def _fail_waiting(self) -> None:
        for ticket in (*self._queued(), *self._runner.waiting_tickets()):
            self._answer(ticket, answers.no_workers())
        self._runner.forget_waiting()

    def _answer(self, ticket: Ticket, error: ApiError | None = None) -> None:
        """`ticket.outputs` is set when there is no error."""
        if ticket.ended_at:
            return
        ticket.ended_at = self._clock()
        ticket.joined = None
        self._unanswered -= 1
        if error is not None:
            ticket.error = error
            self.scheduler.cancel(ticket)  # of a split request some rows may wait still
        else:
            self._counts.answer(ticket)
        try:
            ticket.done(ticket)
        except Exception:
            log.exception("An answer could not be handed on")
        if error is None and ticket.computed_at:
            self.scheduler.observe_answer(self._clock() - ticket.computed_at)

    def _queued(self) -> list[Ticket]:
        return [ticket for ticket in self.scheduler.queued() if isinstance(ticket, Ticket)]

    def _count(self, batch: Batch) -> None:
        lane = self.scheduler.lanes[batch.bucket]
        limit = max(batch.rows, lane.capacity.batch_limit)  # one that is tried is larger
        if batch.rows == limit:
            close = Close.FULL
        elif lane.backlog.rows:
            close = Close.SLACK
        else:
            close = Close.TIMER if self._woken else Close.IDLE
        self._counts.began(batch, close, limit)

    def _arm(self, now: float, wake_at: float | None) -> None:
        """One timer for all; an early one is kept, because it finds out by itself what is next."""
        if wake_at is None and not self._runner.has_begun and not self.scheduler.queued_requests:
            return
        at = self._runner.next_deadline()
        if wake_at is not None and wake_at < at:
            at = wake_at
        if self.scheduler.queued_requests:
            expiry = self.scheduler.next_expiry()
            if expiry is not None and expiry < at:
                at = expiry
            if self._engine.available == 0 and not self._runner.busy:
                at = min(at, now + _RECHECK_SECONDS)
        if at == float("inf") or (self._timer is not None and self._timer_at <= at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = max(at, now + _LEAST_TIMER_SECONDS)
        self._timer = self._loop.call_later(self._timer_at - now, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._woken = True
        self._turn()
