"""`ModelInfer` and `ModelStreamInfer`."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from time import perf_counter
from typing import Any, Final

from google.protobuf.message import DecodeError

from slipway_runtime.dispatch.ticket import Ticket
from slipway_runtime.protocol.codec import Decoded
from slipway_runtime.protocol.errors import ApiError
from slipway_runtime.rpc.call import Headers, check_key, new_record, seconds_left
from slipway_runtime.rpc.connections import Connection
from slipway_runtime.rpc.messages import SERVICE, ModelInferRequest, ModelStreamInferResponse
from slipway_runtime.rpc.service import Backend, Gateway, abort, begin_call, give_up
from slipway_runtime.rpc.wire import append
from slipway_runtime.telemetry.record import RequestRecord
from slipway_runtime.telemetry.timing import server_timing
from slipway_runtime.telemetry.trace import traceresponse

INFER_PATH: Final = f"/{SERVICE}/ModelInfer"
STREAM_PATH: Final = f"/{SERVICE}/ModelStreamInfer"
_STREAM_WINDOW: Final = 64
"""Messages of one stream that are computed at the same time; the client's next ones wait on the wire."""
_INFER_RESPONSE: Final = 2
_ENDS_STREAM: Final = "triton_grpc_error"
"""Metadata by which a client asks for a status instead of a message: the first error ends its stream."""


log = logging.getLogger(__name__)


class Prediction:
    """One message on its way to its answer."""

    __slots__ = ("_answer", "_decoded", "_record", "_ticket", "backend")

    def __init__(self, backend: Backend, message: bytes, record: RequestRecord, left_seconds: float | None) -> None:
        """Submits it. Raises `ApiError` where it does not fit the model."""
        self.backend = backend
        self._record = record
        begun = perf_counter()
        self._decoded: Decoded = backend.codec.decode(message)
        now = perf_counter()
        record.decode_seconds = now - begun
        timeout = self._decoded.timeout_seconds
        if left_seconds is not None and (timeout is None or left_seconds < timeout):
            timeout = left_seconds
        self._answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._ticket = Ticket(
            self._decoded.inputs,
            self._finish,
            priority=self._decoded.priority,
            timeout_seconds=timeout,
            offered_at=record.started_at + record.read_seconds,
        )
        backend.dispatch.submit(self._ticket)

    async def wait(self) -> bytes:
        """A whole `ModelInferResponse`. Whoever is cancelled here has left: what is queued is forgotten."""
        try:
            return await self._answer
        except asyncio.CancelledError:
            self.cancel()
            raise

    def cancel(self) -> None:
        ticket = self._ticket
        self._record.leave("write" if ticket.ended_at else ticket.stage)
        self.backend.dispatch.cancel(ticket)
        self._answer.cancel()

    def _finish(self, ticket: Ticket) -> None:
        record = self._record
        ticket.tell(record)
        if self._answer.done():
            return
        if ticket.error is not None or ticket.outputs is None:
            self._answer.set_exception(ticket.error or ApiError(500, "internal", "The model gave no answer."))
            return
        begun = perf_counter()
        try:
            content = self.backend.codec.encode(self._decoded, ticket.outputs)
        except Exception as error:  # noqa: BLE001 - whoever waits for the answer translates it
            self._answer.set_exception(error)
            return
        record.encode_seconds = perf_counter() - begun
        self._answer.set_result(content)


class InferCalls:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def infer(self, _: object, context: Any) -> bytes:
        record, headers = begin_call(context, INFER_PATH)
        record.protocol = "grpc"
        return await self._gateway.answer(
            context, record, headers, lambda message: self._infer(message, context, record)
        )

    async def _infer(self, message: bytes, context: Any, record: RequestRecord) -> bytes:
        gateway = self._gateway
        backend = gateway.ready_backend()
        gateway.admit(backend, len(message))
        try:
            content = await Prediction(backend, message, record, seconds_left(context)).wait()
        finally:
            gateway.leave(backend, len(message))
        context.set_trailing_metadata(_metadata(record))
        return content

    async def stream(self, _: object, context: Any) -> None:
        """Answers in the order of the messages. An error is a message too, and the stream goes on."""
        gateway = self._gateway
        record, headers = begin_call(context, STREAM_PATH)
        try:
            connection = gateway.entrance.enter(context)
            check_key(gateway.keys, headers)
        except ApiError as error:
            gateway.telemetry.begin(record, headers.get("traceparent"))
            gateway.translate(error, record)
            gateway.telemetry.finish(record)
            await abort(context, error, record)
        stream = _Stream(gateway, context, connection, headers)
        gateway.end_streams.add(stream.drain)
        try:
            await stream.serve()
        except ApiError as error:
            await give_up(context, gateway.translate(error, record), record)
        finally:
            gateway.end_streams.discard(stream.drain)
            stream.drop()
        if stream.ending is not None:
            await abort(context, gateway.translate(stream.ending, record), record)


_Item = tuple[bytes, RequestRecord, "Prediction | Exception"]


class _Stream:
    """The messages of one stream that were read and not yet answered."""

    def __init__(self, gateway: Gateway, context: Any, connection: Connection, headers: Headers) -> None:
        self.ending: ApiError | None = None
        """Why it was ended by the runtime."""
        self._gateway = gateway
        self._context = context
        self._connection = connection
        self._headers = headers
        self._items: deque[_Item] = deque()
        self._room = asyncio.Semaphore(_STREAM_WINDOW)
        self._changed = asyncio.Event()
        self._ended = False
        self._reading = asyncio.create_task(self._read())

    def drain(self) -> None:
        """The runtime ends: what was read is answered, nothing more is read."""
        self._end_for(503, "draining", "The runtime ends. Open the stream again.")

    def _make_room(self) -> None:
        """Nothing was asked for a while, and others find no place."""
        self._end_for(
            503,
            "stream_idle",
            "The stream asked for nothing, and as many calls are open as one pod may hold (maxConnections). Open it"
            " again when there is something to ask.",
        )

    def _end_for(self, status: int, code: str, message: str) -> None:
        self.ending = ApiError(status, code, message, headers={"Retry-After": "1"})
        self._reading.cancel()

    async def _read(self) -> None:
        """Until the client has said all, or the runtime ends. Nothing is lost when this is cancelled."""
        try:
            intake = self._gateway.intake
            while (message := await intake.next_message(self._context, self._connection)) is not None:
                self._items.append(self._begin(message))
                self._changed.set()
                await self._room.acquire()
        except ApiError as error:
            self.ending = error
        except Exception:
            log.debug("A stream broke off", exc_info=True)
        finally:
            self._ended = True
            self._changed.set()

    def _begin(self, message: bytes) -> _Item:
        record = new_record(STREAM_PATH, self._headers, self._context)
        record.protocol, record.bytes_in = "grpc", len(message)
        gateway = self._gateway
        gateway.telemetry.begin(record, self._headers.get("traceparent"))
        admitted: Backend | None = None
        try:
            backend = gateway.ready_backend()
            gateway.intake.check_size(len(message))
            gateway.admit(backend, len(message))
            admitted = backend
            return message, record, Prediction(backend, message, record, seconds_left(self._context))
        except Exception as error:  # noqa: BLE001 - translated with the answer
            if admitted is not None:
                gateway.leave(admitted, len(message))
            return message, record, error

    async def serve(self) -> None:
        """Until all is answered. Raises `ApiError` where the client does not read."""
        entrance = self._gateway.entrance
        while True:
            while self._items:
                item = self._items.popleft()
                self._room.release()
                await self._write(await self._answer(item))
            if self._ended:
                return
            self._changed.clear()
            entrance.idle(self._make_room)
            try:
                await self._changed.wait()
            finally:
                entrance.busy(self._make_room)

    async def _write(self, content: bytes) -> None:
        seconds = self._gateway.intake.timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                await self._context.write(content)
        except TimeoutError:
            raise ApiError(
                408,
                "reader_too_slow",
                f"An answer of the stream was not read within {seconds} seconds (spec.traffic.requestTimeoutSeconds).",
            ) from None

    async def _answer(self, item: _Item) -> bytes:
        message, record, prediction = item
        try:
            if isinstance(prediction, Exception):
                raise prediction
            content = append(b"", _INFER_RESPONSE, [await prediction.wait()])
            record.status, record.bytes_out = 200, len(content)
            return content
        except asyncio.CancelledError:
            record.leave(record.left_in or "compute")
            raise
        except Exception as error:  # noqa: BLE001 - translated
            failure = self._gateway.translate(error, record)
            if self._headers.get(_ENDS_STREAM) in ("true", b"true"):
                return await abort(self._context, failure, record)
            return _failed(failure, message)
        finally:
            self._end(item)

    def drop(self) -> None:
        """Nobody waits for the rest."""
        self._reading.cancel()
        for item in self._items:
            _, record, prediction = item
            if isinstance(prediction, Prediction):
                prediction.cancel()
            record.leave(record.left_in or "write")
            self._end(item)
        self._items.clear()

    def _end(self, item: _Item) -> None:
        message, record, prediction = item
        if isinstance(prediction, Prediction):
            self._gateway.leave(prediction.backend, len(message))
        self._gateway.telemetry.finish(record)


def _failed(error: ApiError, message: bytes) -> bytes:
    response = ModelStreamInferResponse(error_message=error.message)
    with suppress(DecodeError):  # then it has no id either
        response.infer_response.id = ModelInferRequest.FromString(message).id
    content: bytes = response.SerializeToString()
    return content


def _metadata(record: RequestRecord) -> tuple[tuple[str, str], ...]:
    metadata = [
        ("x-request-id", record.request_id),
        ("server-timing", server_timing(record, perf_counter()).decode()),
    ]
    trace = traceresponse(record)
    if trace is not None:
        metadata.append(("traceresponse", trace.decode()))
    return tuple(metadata)
