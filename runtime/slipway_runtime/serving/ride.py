"""One batch of a convoy: what came in one turn, from its texts to its answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from slipway_runtime.batching.work import Batch
from slipway_runtime.dispatch.assembly import Allocate, Arrays, fill
from slipway_runtime.dispatch.counts import DispatchCounts
from slipway_runtime.engines.engine import LoadedModel
from slipway_runtime.http.exchange import Caller
from slipway_runtime.http.wire import new_request_ids, success_format
from slipway_runtime.models.datatypes import Array
from slipway_runtime.protocol.v2.metadata import MODEL_VERSION
from slipway_runtime.protocol.v2.template import Template, Templates
from slipway_runtime.telemetry.record import RequestGroup, RequestRecord
from slipway_runtime.telemetry.telemetry import Telemetry
from slipway_runtime.telemetry.timing import SHARED_TIMING

Passenger = tuple[Caller, bytes, int, Template, float, bytes]
"""Who asked, the whole request, where its numbers begin in it, its text, when it was here, and the id that the client
gave it, if any. A plain tuple, because making an object would be a tenth of the time that the request has."""


_REST: Final = b"Server-Timing: " + SHARED_TIMING + b"\r\nX-Model-Version: " + MODEL_VERSION.encode() + b"\r\n"


def body_bytes(passenger: Passenger) -> int:
    """Of the request."""
    return len(passenger[1]) - passenger[2] + len(passenger[3].prefix)


@dataclass(slots=True)
class Guide:
    """What all rides have in common."""

    path: str
    protocol: str
    facts: LoadedModel
    templates: Templates
    timeout_seconds: float
    counts: DispatchCounts
    telemetry: Telemetry
    date_line: Callable[[], bytes]
    """The header line `Date`, as it is now."""
    later: Callable[..., object]
    """The loop's `call_soon`."""
    _date: bytes | None = None
    _form: bytes = b""

    def answer_form(self) -> bytes:
        """Made anew when the date changes."""
        date = self.date_line()
        if date is not self._date:
            self._date = date
            self._form = success_format(b"application/json", date, _REST)
        return self._form

    def record_of(self, passenger: Passenger, request_id: str) -> RequestRecord:
        caller, _, _, template, received_at, _ = passenger
        return RequestRecord(
            protocol=self.protocol,
            method="POST",
            path=self.path,
            client=caller.client,
            request_id=request_id,
            bytes_in=body_bytes(passenger),
            rows=template.rows,
            started_at=received_at,
        )


class Ride:
    """A `dispatch.express.Load`."""

    def __init__(
        self, guide: Guide, passengers: Sequence[Passenger], inputs: Array, begun_at: float, clock: Callable[[], float]
    ) -> None:
        self._guide = guide
        self._passengers = passengers
        self._inputs = inputs
        self._clock = clock
        self.begun_at = begun_at
        self._decode_seconds = clock() - begun_at
        self.bucket = guide.facts.bucket
        self.rows = len(inputs)
        self.offered_at = [passenger[4] for passenger in passengers]
        self.deadline_at = min(self.offered_at) + guide.timeout_seconds

    @classmethod
    def of(cls, guide: Guide, passengers: Sequence[Passenger], clock: Callable[[], float]) -> Ride | None:
        """None where the texts are not exactly the numbers that they promised to be, or where it is too late."""
        begun_at = clock()
        texts = [data[start : len(data) - len(template.suffix)] for _, data, start, template, _, _ in passengers]
        inputs = guide.templates.decode(texts)
        if inputs is None or len(inputs) != sum([passenger[3].rows for passenger in passengers]):
            return None
        ride = cls(guide, passengers, inputs, begun_at, clock)
        return ride if ride.deadline_at > begun_at else None

    def gather(self, padded_rows: int, allocate: Allocate) -> Arrays:
        name, inputs = self._guide.facts.signature.inputs[0].name, self._inputs
        if len(inputs) == padded_rows:
            return {name: inputs}
        return fill({name: [inputs]}, padded_rows, allocate)

    def hand_out(self, outputs: Arrays, batch: Batch, compute_seconds: float) -> bool:
        guide, clock = self._guide, self._clock
        computed_at = clock()
        texts = guide.templates.encode(outputs, self.rows)
        if texts is None:
            return False
        bodies = self._bodies(texts)
        sizes = [len(body) for body in bodies]
        ids = [
            passenger[5] or new for passenger, new in zip(self._passengers, new_request_ids(len(bodies)), strict=True)
        ]
        form, decoded = guide.answer_form(), b"%.3f" % (self._decode_seconds * 1e3)
        computed, rows = b"%.3f" % (compute_seconds * 1e3), b"%d" % batch.rows
        begun_at, now = self.begun_at, clock()
        queued, total = [], []
        for passenger, body, size, name in zip(self._passengers, bodies, sizes, ids, strict=True):
            caller, received_at = passenger[0], passenger[4]
            waited, whole = begun_at - received_at, now - received_at
            queued.append(waited)
            total.append(whole)
            timing = (size, name, decoded, waited * 1e3, computed, whole * 1e3, rows, body)
            caller.answer(form % timing, size)
        # The transports send at the end of this turn, so what can wait is not done before that.
        guide.later(self._tell, batch, sizes, queued, total, ids, compute_seconds, clock() - computed_at)
        return True

    def _bodies(self, texts: Sequence[Sequence[bytes]]) -> list[bytes]:
        if len(texts) == 1 and self.rows == len(self._passengers):
            around = [passenger[3].pieces for passenger in self._passengers]
            return [before + text + after for (before, after), text in zip(around, texts[0], strict=True)]
        bodies = []
        at = 0
        for passenger in self._passengers:
            template = passenger[3]
            until = at + template.rows
            parts = [template.pieces[0]]
            for rows, piece in zip(texts, template.pieces[1:], strict=True):
                parts += (b",".join(rows[at:until]), piece)
            at = until
            bodies.append(b"".join(parts))
        return bodies

    def _tell(
        self,
        batch: Batch,
        sizes: Sequence[int],
        queued: Sequence[float],
        total: Sequence[float],
        ids: Sequence[bytes],
        compute_seconds: float,
        encode_seconds: float,
    ) -> None:
        guide, passengers, decode_seconds = self._guide, self._passengers, self._decode_seconds
        guide.counts.answer_all(len(sizes), self.rows, sum(queued), compute_seconds)

        def record(position: int) -> RequestRecord:
            record = guide.record_of(passengers[position], ids[position].decode())
            record.status, record.batch_rows, record.batch_started_at = 200, batch.rows, batch.started_at
            record.bytes_out, record.total_seconds = sizes[position], total[position]
            record.queue_seconds, record.decode_seconds = queued[position], decode_seconds
            record.compute_seconds, record.encode_seconds = compute_seconds, encode_seconds
            return record

        received = [body_bytes(passenger) for passenger in passengers]
        guide.telemetry.tell_all(
            RequestGroup(
                guide.protocol,
                received,
                sizes,
                queued,
                total,
                decode_seconds,
                compute_seconds,
                encode_seconds,
                record,
            )
        )
