"""Runs batches on the engine and keeps a failure with its owner."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from slipway_runtime.batching.scheduler import Scheduler
from slipway_runtime.batching.work import Batch
from slipway_runtime.dispatch import answers
from slipway_runtime.dispatch.assembly import assemble, ticket_of
from slipway_runtime.dispatch.buckets import shares_batches
from slipway_runtime.dispatch.counts import DispatchCounts, Retry
from slipway_runtime.dispatch.delivery import Answer, Delivery
from slipway_runtime.dispatch.growthlog import note_steps
from slipway_runtime.dispatch.run import Piece, Run
from slipway_runtime.dispatch.ticket import Ticket
from slipway_runtime.engines.engine import Engine, Execution, LoadedModel, WorkerCrashedError, WorkerHungError
from slipway_runtime.models.model import DeviceMemoryError, OutputError, PredictionError, RowsFailedError
from slipway_runtime.protocol.errors import ApiError

_HANG_FACTOR: Final = 10.0
"""A batch that takes this many times what it should hangs, unless the request timeout is longer still."""
_ATTEMPTS: Final = 2
"""A request that was in so many batches which no worker survived is not tried again."""
_NEVER: Final = float("inf")
_WAIT_DIGITS: Final = 6
"""A request whose batch begins in the moment of its offer waits for nothing, and not for a rounding error."""

log = logging.getLogger(__name__)


class Runner:
    """`answer` is called for each ticket that ends here; `freed` when the engine can take another batch."""

    def __init__(
        self,
        engine: Engine,
        facts: LoadedModel,
        scheduler: Scheduler,
        counts: DispatchCounts,
        *,
        answer: Answer,
        freed: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._scheduler = scheduler
        self._counts = counts
        self._answer = answer
        self._freed = freed
        self._clock = clock
        self._shared = shares_batches(facts)
        self._delivery = Delivery([spec.name for spec in facts.signature.outputs], answer)
        self._runs: set[Run] = set()
        self._waiting: deque[Piece] = deque()
        """For a slot of the engine; their runs have executors of the scheduler already."""
        self._executing = 0

    @property
    def busy(self) -> bool:
        """Whether the engine runs something."""
        return self._executing > 0

    @property
    def has_begun(self) -> bool:
        """Whether any batch has begun and not ended; it may wait for a slot."""
        return bool(self._runs)

    def tickets(self) -> list[Ticket]:
        """Of all batches that have begun and not ended."""
        return [ticket for run in self._runs for ticket in run.tickets()]

    def waiting_tickets(self) -> list[Ticket]:
        return [ticket_of(part) for piece in self._waiting for part in piece.alive()]

    def next_deadline(self) -> float:
        """Infinite when nothing runs."""
        return min([run.deadline_at for run in self._runs], default=_NEVER)

    def begin(self, batch: Batch) -> None:
        """Only while the engine is available or has room ahead. The answers may come before this returns."""
        deadline_at = least_wait = _NEVER
        for part in batch.slices:
            ticket = ticket_of(part)
            if not ticket.started_at:
                ticket.started_at = batch.started_at
                wait = batch.started_at - ticket.offered_at - part.request.waited_seconds
                if wait < least_wait:
                    least_wait = wait
            if ticket.deadline_at < deadline_at:
                deadline_at = ticket.deadline_at
        if least_wait != _NEVER:
            self._counts.waits.note(round(least_wait, _WAIT_DIGITS), self._clock())
        limit = max(_HANG_FACTOR * batch.predicted_seconds, self._scheduler.policy.timeout_seconds)
        run = Run(batch, limit, deadline_at)
        self._runs.add(run)
        self._start(Piece(run, batch.slices), batch.predicted_seconds)

    def start_waiting(self) -> bool:
        """Starts one piece of a batch that failed. False when there is none."""
        while self._waiting:
            piece = self._waiting.popleft()
            piece.parts = piece.alive()
            if piece.parts:
                self._start(piece)
                return True
            self._close(piece.run)
        return False

    def forget_waiting(self) -> None:
        """Their tickets were answered."""
        waiting, self._waiting = self._waiting, deque()
        for piece in waiting:
            self._close(piece.run)

    def expire(self, now: float) -> None:
        """Answers those whose time is over, even while the model still runs."""
        if not self._runs:
            return
        for run in [run for run in self._runs if run.deadline_at <= now]:
            waited_for = [ticket for ticket in run.tickets() if not ticket.ended_at]
            for ticket in waited_for:
                if ticket.deadline_at <= now:
                    self._answer(ticket, self._too_late(ticket))
            run.deadline_at = min([ticket.deadline_at for ticket in waited_for if not ticket.ended_at], default=_NEVER)

    def _too_late(self, ticket: Ticket) -> ApiError:
        if ticket.attempts and not self.busy and self._engine.available == 0:
            return answers.worker_restarted()
        return answers.deadline(ticket.deadline_at - ticket.offered_at, running=True)

    def _start(self, piece: Piece, expected_seconds: float = 0.0) -> None:
        rows: int | None = None
        try:
            if self._shared:
                rows = self._scheduler.padded_size(piece.run.batch.bucket, piece.rows)
                inputs = assemble(piece.parts, rows, self._engine.allocate)
            else:
                inputs = ticket_of(piece.parts[0]).inputs
        except MemoryError as error:
            self._recover(piece, DeviceMemoryError(f"no room for the inputs of a batch: {error}"))
            self._close(piece.run)
            return
        except Exception:
            log.exception("A batch could not be put together")
            for part in piece.parts:
                self._answer(ticket_of(part), answers.internal())
            piece.run.clean = False
            self._close(piece.run)
            return
        self._executing += 1
        self._engine.start(
            Execution(
                inputs,
                lambda execution: self._ended(piece, execution, rows),
                piece.run.limit_seconds,
                expected_seconds,
                lambda: self._follow(piece.run),
            )
        )

    def _follow(self, run: Run) -> None:
        """The batch lay in the engine behind another one, whose end was only expected when it began."""
        run.batch.started_at = self._clock()

    def _ended(self, piece: Piece, execution: Execution, rows: int | None) -> None:
        """The next batch starts before the answers of this one are written."""
        self._executing -= 1
        execution.ended_at = self._clock()
        error = execution.error
        if error is not None and not isinstance(error, RowsFailedError):
            self._recover(piece, error)
        self._close(piece.run)
        self._freed()
        try:
            if error is None:
                piece.run.served |= self._delivery.hand_out(piece.parts, execution, rows)
                self._count_items(piece.run)
            elif isinstance(error, RowsFailedError):
                served, failed = self._delivery.hand_out_rest(piece.parts, execution, rows, error)
                piece.run.served |= served
                piece.run.failed += failed
                self._count_items(piece.run)
        finally:
            self._engine.release(execution)

    def _close(self, run: Run) -> None:
        run.open_pieces -= 1
        if run.open_pieces:
            return
        self._runs.discard(run)
        now = self._clock()
        if run.clean:
            self._counts.ended(run.batch, now)
        self._scheduler.complete(run.batch, now, learn=run.clean)
        note_steps(self._scheduler, self._counts)

    def _recover(self, piece: Piece, error: PredictionError) -> None:
        """Answers those whom the failure belongs to and lines up the others to be run again, on the same executor."""
        run = piece.run
        run.clean = False
        alive = piece.alive()
        if not alive:
            return
        some_left = len(alive) < len(piece.parts)
        piece.parts = alive
        retries = self._retries(piece, error, some_left=some_left)
        run.open_pieces += len(retries)
        self._waiting.extendleft(reversed(retries))

    def _retries(self, piece: Piece, error: PredictionError, *, some_left: bool) -> Sequence[Piece]:
        """`some_left`: the batch had rows that nobody waits for any more, and they may be to blame."""
        if isinstance(error, WorkerCrashedError):
            return self._survivors(piece, error, Retry.CRASH, answers.worker_crashed)
        if isinstance(error, WorkerHungError):
            return self._survivors(piece, error, Retry.HANG, answers.worker_hung)
        if isinstance(error, OutputError):
            self._delivery.refuse(piece.parts, str(error))
            return ()
        if some_left:
            self._counts.retries[Retry.BISECT] += 1
            return [Piece(piece.run, piece.parts)]
        if isinstance(error, DeviceMemoryError):
            pieces, cause = piece.halves_by_rows() if self._shared else [piece], Retry.MEMORY
            self._scheduler.refuse_size(piece.run.batch.bucket, piece.rows)
        else:
            pieces, cause = piece.halves(), Retry.BISECT
        if len(pieces) == 1:
            self._fail_item(piece.run, ticket_of(piece.parts[0]), answers.failed(error))
            return ()
        self._counts.retries[cause] += 1
        return pieces

    def _survivors(
        self, piece: Piece, error: PredictionError, cause: Retry, give_up: Callable[[PredictionError], ApiError]
    ) -> list[Piece]:
        """Each request by itself, for one of them may be what no worker survives."""
        self._scheduler.distrust_size(piece.run.batch.bucket, piece.rows)
        pieces = []
        for part in piece.parts:
            ticket = ticket_of(part)
            ticket.attempts += 1
            if ticket.attempts >= _ATTEMPTS:
                self._fail_item(piece.run, ticket, give_up(error))
            else:
                self._counts.retries[cause] += 1
                pieces.append(Piece(piece.run, (part,)))
        return pieces

    def _fail_item(self, run: Run, ticket: Ticket, error: ApiError) -> None:
        """The failure is this request's own."""
        self._answer(ticket, error)
        run.failed.append(error.code)
        self._count_items(run)

    def _count_items(self, run: Run) -> None:
        """Once others of the batch were answered, whichever was known first."""
        if run.failed and run.served and len(run.batch.slices) > 1:
            failed, run.failed = run.failed, []
            for code in failed:
                self._counts.item_errors[code] = self._counts.item_errors.get(code, 0) + 1
