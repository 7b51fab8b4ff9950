"""`ModelInfer` and `ModelStreamInfer`."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from time import perf_counter
from typing import Any, Final

from google.protobuf.message import DecodeError

from slipway_runtime.dispatch.ticket import Ticket
from slipway_runtime.protocol.codec import Decoded
from slipway_runtime.protocol.errors import ApiError
from slipway_runtime.rpc.call import Headers, check_key, seconds_left
from slipway_runtime.rpc.messages import SERVICE, ModelInferRequest, ModelStreamInferResponse
from slipway_runtime.rpc.service import CLIENT_CLOSED, Backend, Gateway, abort, begin_call, translate
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
            offered_at=record.started_at,
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
        self.backend.dispatch.cancel(self._ticket)
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

    async def infer(self, message: bytes, context: Any) -> bytes:
        record, headers = begin_call(context, INFER_PATH)
        record.protocol, record.bytes_in = "grpc", len(message)
        return await self._gateway.answer(context, record, headers, lambda: self._infer(message, context, record))

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

    async def stream(self, messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """Answers in the order of the messages. An error is a message too, and the stream goes on."""
        gateway = self._gateway
        record, headers = begin_call(context, STREAM_PATH)
        try:
            check_key(gateway.keys, headers)
        except ApiError as error:
            gateway.telemetry.begin(record, headers.get("traceparent"))
            translate(error, record)
            gateway.telemetry.finish(record)
            await abort(context, error, record)
        gateway.begun_calls += 1
        stream = _Stream(gateway, context, headers)
        reading = asyncio.create_task(stream.read(messages))
        gateway.end_streams.add(reading.cancel)
        try:
            async for content in stream.answers():
                yield content
        finally:
            gateway.end_streams.discard(reading.cancel)
            reading.cancel()
            stream.drop()
        if reading.cancelled():
            ending = ApiError(503, "draining", "The runtime ends. Open the stream again.", headers={"Retry-After": "1"})
            await abort(context, ending, record)


_Item = tuple[bytes, RequestRecord, "Prediction | ApiError"]


class _Stream:
    """The messages of one stream that were read and not yet answered."""

    def __init__(self, gateway: Gateway, context: Any, headers: Headers) -> None:
        self._gateway = gateway
        self._context = context
        self._headers = headers
        self._items: deque[_Item] = deque()
        self._room = asyncio.Semaphore(_STREAM_WINDOW)
        self._changed = asyncio.Event()
        self._ended = False

    async def read(self, messages: AsyncIterator[bytes]) -> None:
        """Until the client has said all, or the runtime ends. Nothing is lost when this is cancelled."""
        try:
            async for message in messages:
                self._items.append(self._begin(message))
                self._changed.set()
                await self._room.acquire()
        except Exception:
            log.debug("A stream broke off", exc_info=True)
        finally:
            self._ended = True
            self._changed.set()

    def _begin(self, message: bytes) -> _Item:
        record, _ = begin_call(self._context, STREAM_PATH)
        record.protocol, record.bytes_in = "grpc", len(message)
        gateway = self._gateway
        gateway.telemetry.begin(record, self._headers.get("traceparent"))
        admitted: Backend | None = None
        try:
            backend = gateway.ready_backend()
            gateway.admit(backend, len(message))
            admitted = backend
            return message, record, Prediction(backend, message, record, seconds_left(self._context))
        except Exception as error:  # noqa: BLE001 - translated
            if admitted is not None:
                gateway.leave(admitted, len(message))
            return b"", record, translate(error, record)

    async def answers(self) -> AsyncIterator[bytes]:
        while True:
            while self._items:
                item = self._items.popleft()
                self._room.release()
                yield await self._answer(item)
            if self._ended:
                return
            self._changed.clear()
            await self._changed.wait()

    async def _answer(self, item: _Item) -> bytes:
        message, record, prediction = item
        try:
            if isinstance(prediction, ApiError):
                raise prediction
            content = append(b"", _INFER_RESPONSE, [await prediction.wait()])
            record.status, record.bytes_out = 200, len(content)
            return content
        except asyncio.CancelledError:
            record.status, record.code = CLIENT_CLOSED, "client_closed"
            raise
        except Exception as error:  # noqa: BLE001 - translated
            failure = translate(error, record)
            if self._headers.get(_ENDS_STREAM) in ("true", b"true"):
                return await abort(self._context, failure, record)
            return _failed(failure, message)
        finally:
            self._end(item)

    def drop(self) -> None:
        """The client left: nobody waits for the rest."""
        for item in self._items:
            _, record, prediction = item
            if isinstance(prediction, Prediction):
                prediction.cancel()
            record.status, record.code = CLIENT_CLOSED, "client_closed"
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
