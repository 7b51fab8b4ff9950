"""Small predictions that are alike travel together: one parse, one batch, one look at the clock for all of them.

A request of some hundred bytes costs more in objects of its own than in work. So the requests of one turn of the loop
that differ in their numbers alone (`protocol.v2.template`), for a model that computes inside the loop, are read, run
and answered as one. All others, and all of a turn in which anything is unusual, go the usual way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Final

from slipway_runtime.dispatch.concurrency import Concurrency
from slipway_runtime.dispatch.dispatcher import Dispatcher
from slipway_runtime.engines.engine import LoadedModel
from slipway_runtime.http.exchange import Caller
from slipway_runtime.http.head import Head
from slipway_runtime.http.wire import new_request_id
from slipway_runtime.protocol.compression import MIN_COMPRESSED_BYTES
from slipway_runtime.protocol.errors import ApiError
from slipway_runtime.protocol.mediatypes import check_json
from slipway_runtime.protocol.v2.template import Template, Templates, split
from slipway_runtime.serving.ride import Guide, Passenger, Ride
from slipway_runtime.telemetry.telemetry import Telemetry

_LONGEST_BYTES: Final = 16 * 1024
_MOST_TEMPLATES: Final = 64
_MOST_SEEN: Final = 256
_MOST_LEARNED: Final = 4 * _MOST_TEMPLATES
"""After so many, clients are too different for this."""
_PARTICULAR: Final = (
    b"content-encoding",
    b"inference-header-content-length",
    b"x-priority",
    b"x-request-timeout-ms",
    b"traceparent",
    b"expect",
)
"""Headers by which a request wants something of its own."""

log = logging.getLogger(__name__)


class Convoy:
    """`http.exchange.Shortcut` for one path of one model."""

    def __init__(
        self,
        guide: Guide,
        dispatcher: Dispatcher,
        concurrency: Concurrency,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._guide = guide
        self._templates = guide.templates
        self._dispatcher = dispatcher
        self._concurrency = concurrency if concurrency.limit is not None else None
        """None where nothing needs to be counted: every request passes here."""
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._known: dict[tuple[bytes, bytes], Template] = {}
        self._seen: set[int] = set()
        self._learned = 0
        self._last: Template | None = None
        self._waiting: list[Passenger] = []

    @staticmethod
    def fits(facts: LoadedModel, telemetry: Telemetry) -> bool:
        """Whether there is anything to gain, and nothing that each request needs for itself."""
        return facts.row_wise and not telemetry.traces and Templates.fit(facts.signature)

    def suits(self, head: Head) -> bool:
        try:
            check_json(head.headers.get(b"content-type"))
        except ApiError:
            return False
        return (
            head.method == b"POST"
            and head.version == "1.1"
            and head.keep_alive
            and head.length_bytes is not None
            and 0 < head.length_bytes <= _LONGEST_BYTES
            and not any(name in head.headers for name in _PARTICULAR)
        )

    def take(self, caller: Caller, data: bytes, start: int, request_id: bytes) -> bool:
        template = self._last
        if template is None or not (data.startswith(template.prefix, start) and data.endswith(template.suffix)):
            template = self._find(data[start:])
            if template is None:
                return False
        begin = start + len(template.prefix)
        if data.count(b",", begin, len(data) - len(template.suffix)) != template.commas or not self._dispatcher.idle:
            return False
        if self._concurrency is not None and not self._concurrency.take():
            return False  # and is refused on the usual way
        if self._waiting:
            received_at = self._waiting[0][4]  # it could be read by then, and only waited for its place in the turn
        else:
            received_at = self._clock()
            self._loop.call_soon(self._turn)
        self._waiting.append((caller, data, begin, template, received_at, request_id))
        return True

    def give_back(self, caller: Caller) -> None:
        mine = [passenger for passenger in self._waiting if passenger[0] is caller]
        self._waiting = [passenger for passenger in self._waiting if passenger[0] is not caller]
        self._give(len(mine))
        for passenger in mine:
            caller.go_the_usual_way(passenger[1], passenger[4])

    def _find(self, body: bytes) -> Template | None:
        parts = split(body)
        if parts is None:
            return None
        prefix, size, suffix = parts
        template = self._known.get((prefix, suffix))
        if template is None:
            template = self._learn(prefix, size, suffix)
        if template is not None:
            self._last = template
        return template

    def _learn(self, prefix: bytes, size: int, suffix: bytes) -> Template | None:
        """On second sight, as the texts of some clients never come again."""
        key = hash((prefix, suffix))
        if key not in self._seen:
            if len(self._seen) >= _MOST_SEEN:
                self._seen.clear()
            self._seen.add(key)
            return None
        if self._learned >= _MOST_LEARNED:
            return None
        self._learned += 1
        template = self._templates.learn(prefix, size, suffix)
        # Nobody may expect the answer to be compressed.
        if template is None or template.longest_answer_bytes >= MIN_COMPRESSED_BYTES:
            return None
        if len(self._known) >= _MOST_TEMPLATES:
            self._known.clear()
        self._known[prefix, suffix] = template
        return template

    def _turn(self) -> None:
        waiting, self._waiting = self._waiting, []
        staying = [passenger for passenger in waiting if passenger[0].waits]
        if len(staying) < len(waiting):
            self._tell_of_those_who_left([passenger for passenger in waiting if not passenger[0].waits])
        try:
            answered = not staying or self._travel(staying)
        except Exception:
            log.exception("Requests that travelled together failed inside the runtime; each is tried alone")
            answered = False
        self._give(len(waiting))
        if not answered:
            for caller, data, _, _, received_at, _ in staying:
                if caller.waits:
                    caller.go_the_usual_way(data, received_at)

    def _give(self, predictions: int) -> None:
        if self._concurrency is not None:
            self._concurrency.give(predictions)

    def _travel(self, passengers: Sequence[Passenger]) -> bool:
        ride = Ride.of(self._guide, passengers, self._clock)
        return ride is not None and self._dispatcher.run_at_once(ride, ride.begun_at)

    def _tell_of_those_who_left(self, gone: Sequence[Passenger]) -> None:
        telemetry = self._guide.telemetry
        for passenger in gone:
            record = self._guide.record_of(passenger, passenger[5].decode() or new_request_id())
            record.leave("queue")
            telemetry.begin(record)
            telemetry.finish(record)
