"""Predictions over HTTP: a body becomes a ticket, the ticket's outputs become an answer. Callbacks, no tasks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Final, TypeVar

from slipway_runtime.dispatch.concurrency import Concurrency
from slipway_runtime.dispatch.ticket import Dispatch, Ticket
from slipway_runtime.http.exchange import Reply, Request
from slipway_runtime.http.wire import send_error
from slipway_runtime.protocol.codec import Buffer, Codec, Decoded, Payload
from slipway_runtime.protocol.compression import MIN_COMPRESSED_BYTES, choose_encoding, compress, decompress
from slipway_runtime.protocol.errors import ApiError, internal_error
from slipway_runtime.protocol.v2.metadata import MODEL_VERSION
from slipway_runtime.serving.exchange import record_of
from slipway_runtime.telemetry.telemetry import Telemetry
from slipway_runtime.telemetry.timing import server_timing
from slipway_runtime.telemetry.trace import traceresponse

_OFF_LOOP_BYTES: Final = 64 * 1024
"""From here on gzip works in another thread, where it lets the loop go on. Parsing JSON would not: it keeps Python's
lock all the time, so it is as well done at once."""
_SMALL_COMPRESSED_BYTES: Final = 4096
"""What this can become, a thousand times as much at most, is read at once."""
_VERSION_HEADER: Final = (b"X-Model-Version", MODEL_VERSION.encode())

T = TypeVar("T")

log = logging.getLogger(__name__)


class Desk:
    """What all endpoints of a process share."""

    def __init__(
        self,
        model: str,
        dispatch: Dispatch,
        concurrency: Concurrency,
        telemetry: Telemetry,
        max_decompressed_bytes: int,
    ) -> None:
        self.model = model
        self.dispatch = dispatch
        self.concurrency = concurrency
        self.telemetry = telemetry
        self.max_decompressed_bytes = max_decompressed_bytes
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(1, "aside")

    def aside(self, work: Callable[[], T], then: Callable[[T], None], fail: Callable[[BaseException], None]) -> None:
        """`work` in another thread, then `then` or `fail` in the loop's."""

        def run() -> None:
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - carried over
                self._loop.call_soon_threadsafe(fail, error)
            else:
                self._loop.call_soon_threadsafe(then, result)

        self._pool.submit(run)


class InferEndpoint:
    """An `http.exchange.Handler` for the paths of one codec."""

    def __init__(self, codec: Codec, desk: Desk) -> None:
        self.codec = codec
        self._desk = desk

    def __call__(self, request: Request, reply: Reply) -> None:
        _Call(self.codec, self._desk, request, reply).begin()


class _Call:
    """One request on its way to its answer."""

    __slots__ = ("_admitted", "_codec", "_decoded", "_desk", "_record", "_reply", "_request", "_ticket")

    def __init__(self, codec: Codec, desk: Desk, request: Request, reply: Reply) -> None:
        self._codec = codec
        self._desk = desk
        self._request = request
        self._reply = reply
        self._decoded: Decoded | None = None
        self._ticket: Ticket | None = None
        self._admitted = False
        self._record = record_of(request, codec.protocol)

    def begin(self) -> None:
        self._desk.telemetry.begin(self._record, self._request.headers.get(b"traceparent"))
        self._reply.on_disconnect = self._leave
        try:
            self._desk.concurrency.admit()
        except ApiError as error:
            self._fail(error)
            return
        self._admitted = True
        try:
            self._unpack()
        except Exception as error:  # noqa: BLE001 - answered
            self._fail(error)

    def _unpack(self) -> None:
        headers = self._request.headers
        encoding = headers.get(b"content-encoding")
        body = self._request.body
        if not encoding:
            self._submit(body)
            return
        limit = self._desk.max_decompressed_bytes
        if len(body) <= _SMALL_COMPRESSED_BYTES:
            self._submit(decompress(body, encoding, limit))
            return
        self._desk.aside(lambda: decompress(body, encoding, limit), self._submit, self._fail)

    def _submit(self, body: Buffer) -> None:
        record = self._record
        if record.status:
            return  # the client left meanwhile
        if body is not self._request.body:
            try:
                self._reply.charge(len(body))
            except ApiError as error:
                self._fail(error)
                return
        begun = perf_counter()
        codec, headers = self._codec, self._request.headers
        if codec.takes_long(headers):
            self._desk.aside(
                lambda: codec.decode(headers, body), lambda decoded: self._offer(decoded, begun), self._fail
            )
            return
        try:
            decoded = codec.decode(headers, body)
        except Exception as error:  # noqa: BLE001 - answered
            record.decode_seconds = perf_counter() - begun
            self._fail(error)
            return
        self._offer(decoded, begun)

    def _offer(self, decoded: Decoded, begun: float) -> None:
        record = self._record
        if record.status:
            return  # the client left meanwhile
        self._decoded = decoded
        record.decode_seconds = perf_counter() - begun
        # What the inputs do not lie in is free for the next body while this one's turn has not come.
        self._request.body = b""
        self._ticket = Ticket(
            decoded.inputs,
            self._finish,
            decoded.priority,
            decoded.timeout_seconds,
            self._request.received_at,
        )
        self._desk.dispatch.submit(self._ticket)

    def _finish(self, ticket: Ticket) -> None:
        self._ticket = None
        record = self._record
        ticket.tell(record)
        if ticket.error is not None or ticket.outputs is None:
            self._fail(ticket.error or _no_answer())
            return
        assert self._decoded is not None
        begun = perf_counter()
        try:
            payload = self._codec.encode(self._decoded, ticket.outputs)
        except Exception as error:  # noqa: BLE001 - answered
            self._fail(error)
            return
        encoding = self._encoding(payload)
        if encoding is None:
            record.encode_seconds = perf_counter() - begun
            self._send(payload.content_type, payload.parts, payload.headers)
            return
        payload.headers += [(b"Content-Encoding", encoding), (b"Vary", b"Accept-Encoding")]
        # Borrowed outputs are not, when this returns.
        parts: list[Buffer] = [part if isinstance(part, bytes) else bytes(part) for part in payload.parts]

        def send(compressed: Sequence[Buffer]) -> None:
            record.encode_seconds = perf_counter() - begun
            self._send(payload.content_type, compressed, payload.headers)

        if payload.size_bytes < _OFF_LOOP_BYTES:
            send(compress(parts, encoding))
        else:
            self._desk.aside(lambda: compress(parts, encoding), send, self._fail)

    def _encoding(self, payload: Payload) -> bytes | None:
        accepted = self._request.headers.get(b"accept-encoding")
        if not accepted or payload.size_bytes < MIN_COMPRESSED_BYTES:
            return None
        return choose_encoding(accepted)

    def _send(self, content_type: bytes, parts: Sequence[Buffer], headers: Sequence[tuple[bytes, bytes]]) -> None:
        record = self._record
        if record.status:
            return
        record.status = 200
        record.bytes_out = sum([part.nbytes if isinstance(part, memoryview) else len(part) for part in parts])
        own = [(b"Server-Timing", server_timing(record, perf_counter())), _VERSION_HEADER]
        trace = traceresponse(record)
        if trace is not None:
            own.append((b"traceresponse", trace))
        try:
            self._reply.send(200, content_type, parts, [*headers, *own] if headers else own)
        finally:
            self._end()

    def _fail(self, error: BaseException) -> None:
        record = self._record
        if record.status:
            return
        if not isinstance(error, ApiError):
            log.error("A request failed inside the runtime", exc_info=error, extra={"request_id": record.request_id})
            error = internal_error(record.request_id)
        record.status, record.code = error.status, error.code
        send_error(self._reply, error, request_id=record.request_id, model=self._desk.model)
        self._end()

    def _leave(self) -> None:
        """The client is gone."""
        record = self._record
        if record.status:
            return
        ticket = self._ticket
        if ticket is not None:
            record.leave(ticket.stage)
            self._desk.dispatch.cancel(ticket)
            ticket.tell(record)
        else:
            record.leave("decode" if self._decoded is None else "encode")
        self._end()

    def _end(self) -> None:
        # The reply would hold on to this, and this to the reply, until the garbage collector finds them.
        self._reply.on_disconnect = None
        if self._admitted:
            self._desk.concurrency.give()
        self._desk.telemetry.finish(self._record)


def _no_answer() -> ApiError:
    return ApiError(500, "internal", "The model gave no answer.")
