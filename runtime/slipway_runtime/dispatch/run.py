"""A batch of the scheduler on its way through the engine, as a whole or in the pieces it was cut into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from slipway_runtime.batching.work import Batch, Slice
from slipway_runtime.dispatch.assembly import ticket_of
from slipway_runtime.dispatch.ticket import Ticket


@dataclass(slots=True, eq=False)
class Run:
    """Keeps its executor until all of its pieces ended."""

    batch: Batch
    limit_seconds: float
    deadline_at: float
    """When the first of its tickets is waited for no longer."""
    open_pieces: int = 1
    clean: bool = True
    """False once something failed: then its time teaches nothing."""
    served: bool = False
    """Some request of it was answered."""
    failed: list[str] = field(default_factory=list)
    """Codes of the requests that failed for themselves, as far as they are not counted."""

    def tickets(self) -> list[Ticket]:
        return [ticket_of(part) for part in self.batch.slices]


@dataclass(slots=True, eq=False)
class Piece:
    run: Run
    parts: Sequence[Slice]

    @property
    def rows(self) -> int:
        return sum(part.stop - part.start for part in self.parts)

    def alive(self) -> list[Slice]:
        """The parts whose tickets somebody still waits for."""
        return [part for part in self.parts if not ticket_of(part).ended_at]

    def halves(self) -> list[Piece]:
        """By requests: to find the one that makes the others fail. Itself when it has one request."""
        parts = self.parts
        if len(parts) == 1:
            return [self]
        middle = (len(parts) + 1) // 2
        return [Piece(self.run, parts[:middle]), Piece(self.run, parts[middle:])]

    def halves_by_rows(self) -> list[Piece]:
        """By rows, through the middle of a request where need be: to fit into less memory. Itself when it has one."""
        rows = self.rows
        if rows == 1:
            return [self]
        first: list[Slice] = []
        second: list[Slice] = []
        room = (rows + 1) // 2
        for part in self.parts:
            taken = min(room, part.stop - part.start)
            room -= taken
            if taken:
                first.append(_cut(part, part.start, part.start + taken))
            if part.start + taken < part.stop:
                second.append(_cut(part, part.start + taken, part.stop))
        return [Piece(self.run, first), Piece(self.run, second)]


def _cut(part: Slice, start: int, stop: int) -> Slice:
    return Slice(part.request, start, stop, part.target_at)
