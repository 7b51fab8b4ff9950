"""The outputs of a batch back to the requests whose rows they are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from slipway_runtime.batching.work import Slice
from slipway_runtime.dispatch import answers
from slipway_runtime.dispatch.assembly import Arrays, join, mismatch, ticket_of
from slipway_runtime.dispatch.ticket import Ticket
from slipway_runtime.engines.engine import Execution
from slipway_runtime.models.model import RowsFailedError
from slipway_runtime.protocol.errors import ApiError

log = logging.getLogger(__name__)


class Answer(Protocol):
    def __call__(self, ticket: Ticket, error: ApiError | None = None) -> None:
        """Ends the ticket, with `outputs` set in it or with an error. One that has ended is left alone."""


class Delivery:
    def __init__(self, names: Sequence[str], answer: Answer) -> None:
        self._names = tuple(names)
        """Of the outputs that the signature promises."""
        self._answer = answer
        self._mismatch_logged = False

    def hand_out(self, parts: Sequence[Slice], execution: Execution, rows: int | None) -> bool:
        """`rows` is the size that was executed, None where a request is a batch whatever its rows. False where the
        outputs are not what they should be."""
        outputs = execution.outputs or {}
        wrong = mismatch(outputs, self._names, rows)
        if wrong is not None:
            self.refuse(parts, wrong)
            return False
        batch_rows = sum([part.stop - part.start for part in parts])
        at = 0
        for part in parts:
            count = part.stop - part.start
            ticket = ticket_of(part)
            if not ticket.ended_at:
                ticket.compute_seconds += execution.compute_seconds
                ticket.batch_rows = batch_rows
                ticket.worker, ticket.computed_at = execution.worker, execution.ended_at
                whole = rows is None or count == rows
                own = outputs if whole else {name: outputs[name][at : at + count] for name in self._names}
                self._give(ticket, part, own)
            at += count
        return True

    def hand_out_rest(
        self, parts: Sequence[Slice], execution: Execution, rows: int | None, failed: RowsFailedError
    ) -> tuple[bool, list[str]]:
        """Some rows failed for reasons of their own: a request with one of them fails, the others get their rows.
        Whether there were others, and the codes of those that failed."""
        at = 0
        codes = []
        for part in parts:
            stop = at + part.stop - part.start
            own = failed.rows if rows is None else [row for row in failed.rows if at <= row < stop]
            if own and not ticket_of(part).ended_at:
                error = answers.row_failed(failed.rows[min(own)])
                codes.append(error.code)
                self._answer(ticket_of(part), error)
            at = stop
        others = not all(ticket_of(part).ended_at for part in parts)
        return others and self.hand_out(parts, execution, rows), codes

    def refuse(self, parts: Sequence[Slice], wrong: str) -> None:
        """The model gave something else than it promised, which no request is to blame for."""
        wrong = wrong.rstrip(".")  # it goes into a sentence
        if not self._mismatch_logged:
            self._mismatch_logged = True
            log.error("The model's answer does not fit its signature: %s. This is logged once", wrong)
        for part in parts:
            self._answer(ticket_of(part), answers.wrong_outputs(wrong))

    def _give(self, ticket: Ticket, part: Slice, outputs: Arrays) -> None:
        if part.stop - part.start == ticket.rows:
            ticket.outputs = {name: array[:0] for name, array in outputs.items()} if ticket.empty else outputs
            self._answer(ticket)
            return
        try:
            whole = join(ticket, part, {name: outputs[name] for name in self._names})
        except ValueError as error:
            self.refuse((part,), str(error))
            return
        if whole is not None:
            ticket.outputs = whole
            self._answer(ticket)
