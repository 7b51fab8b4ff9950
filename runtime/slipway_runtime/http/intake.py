"""From a connection's bytes to its requests: heads, and bodies by length or in chunks, charged before they are kept."""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np

from slipway_runtime.http.budget import ByteBudget
from slipway_runtime.http.chunked import ChunkedBody
from slipway_runtime.http.head import Head, HeadReader, check_expectation
from slipway_runtime.http.heads import KnownHeads
from slipway_runtime.http.rules import Rules
from slipway_runtime.http.turnclock import TurnClock
from slipway_runtime.protocol.codec import Buffer
from slipway_runtime.protocol.errors import ApiError

_NEVER: Final = float("inf")


class House(Protocol):
    """What the intakes of a server share."""

    rules: Rules
    budget: ByteBudget
    heads: KnownHeads
    now: float
    received_at: TurnClock

    def admit(self, head: Head) -> None:
        """Before the body is read. Raises `ApiError`."""

    def too_much(self, whole_bytes: int, more_bytes: int) -> ApiError:
        """Why a body cannot grow by `more_bytes` to `whole_bytes`."""


class Taker(Protocol):
    def take(self, head: Head, body: Buffer) -> None:
        """A request is here whole. `Intake.release` says what it is charged with."""

    def offer_continue(self) -> None:
        """A client waits for 100 Continue before it sends the body."""


class Intake:
    """Used step by step, so that the connection can stop in between."""

    __slots__ = (
        "_chunked",
        "_filled_bytes",
        "_filling",
        "_house",
        "_reader",
        "_taker",
        "arrived_at",
        "charged_bytes",
        "continue_due",
        "deadline",
        "head",
        "more",
        "started_at",
    )

    def __init__(self, house: House, taker: Taker) -> None:
        self._house = house
        self._taker = taker
        self._reader: HeadReader | None = None
        self._chunked: ChunkedBody | None = None
        self._filling: memoryview | None = None
        self._filled_bytes = 0
        self.head: Head | None = None
        """Of the request that is being read, from the end of its head on."""
        self.charged_bytes = 0
        self.continue_due = False
        self.deadline = _NEVER
        """Of the head or the body that is being read."""
        self.more = False
        """More was received than the request at hand."""
        self.started_at = 0.0
        """`time.perf_counter()` of its first byte."""
        self.arrived_at = 0.0
        """Set while bytes are read that came earlier, at that time."""

    @property
    def in_head(self) -> bool:
        return self._reader is not None

    @property
    def busy(self) -> bool:
        """In the middle of a request."""
        return self._reader is not None or self.head is not None

    def place(self) -> memoryview | None:
        """Where the body goes on, so that it is received right there; None when other bytes are expected."""
        return None if self._filling is None else self._filling[self._filled_bytes :]

    def fill(self, data: memoryview) -> memoryview:
        """Takes what belongs to the body at hand; the rest of `data`."""
        place = self.place()
        if place is None:
            return data
        size = min(len(place), len(data))
        place[:size] = data[:size]
        self.placed(size)
        return data[size:]

    def placed(self, size_bytes: int) -> None:
        filling, head = self._filling, self.head
        assert filling is not None
        assert head is not None
        self._filled_bytes += size_bytes
        if self._filled_bytes == len(filling):
            self._filling = None
            self.more = False
            self._finish(head, filling)

    def read(self, data: bytes, start: int) -> int:
        """One step; where the next one begins. Raises `ApiError`, and then nothing can be read any more."""
        if self._chunked is not None:
            return self._read_chunks(self._chunked, data, start)
        reader = self._reader
        if reader is not None:
            stop = reader.feed(data, start)
        else:
            self.started_at = self.arrived_at or self._house.received_at()
            known = self._house.heads.find(data, start)
            if known is not None:
                return self._begin(known.head, data, start + known.size_bytes, waits=False)
            reader = self._reader = HeadReader(self._house.rules.limits)
            self.deadline = self._house.now + self._house.rules.limits.header_timeout_seconds
            stop = reader.feed(data, start)
        if stop is None:
            return len(data)
        return self._read_head(reader, data, start, stop)

    def drop(self) -> None:
        """What was read of a request means nothing any more."""
        self._house.budget.give(self.release())
        self._reader = self.head = self._chunked = self._filling = None
        self.continue_due = False
        self.deadline = _NEVER

    def release(self) -> int:
        """What the request is charged with, which is someone else's to give back from now on."""
        charged, self.charged_bytes = self.charged_bytes, 0
        return charged

    def _read_head(self, reader: HeadReader, data: bytes, start: int, stop: int) -> int:
        self._reader, head = None, reader.head
        assert head is not None
        self.head = head
        waits = check_expectation(head)
        if reader.size_bytes == stop - start and not waits:
            self._house.heads.remember(data[start:stop], head)
        return self._begin(head, data, stop, waits)

    def _begin(self, head: Head, data: bytes, start: int, waits: bool) -> int:
        """The body begins at `start`. `waits`: the client, for 100 Continue."""
        self.head = head
        house = self._house
        house.admit(head)
        length = head.length_bytes
        if length is None:
            self._chunked = ChunkedBody(self._charge)
        else:
            if length:
                self._charge(length)
            end = start + length
            if end <= len(data):
                self.more = end < len(data)
                self._finish(head, data[start:end])
                return end
            # Not cleared, because every byte is written before anyone sees one.
            self._filling = np.empty(length, np.uint8).data
            self._filled_bytes = len(data) - start
            self._filling[: self._filled_bytes] = memoryview(data)[start:]
            start = len(data)
        self.deadline = house.now + house.rules.request_timeout_seconds
        if waits and start == len(data):
            self.continue_due = True
            self._taker.offer_continue()
        return start

    def _read_chunks(self, chunked: ChunkedBody, data: bytes, start: int) -> int:
        start = chunked.feed(data, start)
        if chunked.complete:
            assert self.head is not None
            self._chunked = None
            self.more = start < len(data)
            self._finish(self.head, chunked.content)
        return start

    def _charge(self, size_bytes: int) -> None:
        whole, house = self.charged_bytes + size_bytes, self._house
        if whole > house.rules.max_request_bytes or not house.budget.take(size_bytes):
            raise house.too_much(whole, size_bytes)
        self.charged_bytes = whole

    def _finish(self, head: Head, body: Buffer) -> None:
        self.head = None
        self.continue_due = False
        self.deadline = _NEVER
        self._taker.take(head, body)
