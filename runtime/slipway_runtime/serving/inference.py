"""From a request's body to an answer's body: read, decode, wait for the model, compute, encode, each timed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from fastapi import Request, Response

from slipway_runtime.metrics import Metrics
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.model import DeviceMemoryError, Model, PredictionError
from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.codec import Buffer, Payload
from slipway_runtime.protocol.compression import MIN_COMPRESSED_BYTES, choose_encoding, compress, decompress
from slipway_runtime.protocol.errors import ApiError
from slipway_runtime.protocol.routes import InferenceRoutes
from slipway_runtime.protocol.v2.statistics import ModelStatistics
from slipway_runtime.serving.body import read_body
from slipway_runtime.serving.exchange import Exchange, exchange_of
from slipway_runtime.serving.modelthread import Job, ModelThread

T = TypeVar("T")

_OFF_LOOP_BYTES: Final = 64 * 1024
"""Larger bodies are parsed in another thread, so that the loop goes on answering others."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """What is served, and within which limits."""

    name: str
    model: Model
    signature: Signature
    request_timeout_seconds: int
    max_request_bytes: int


class Inference:
    def __init__(self, served: Served, thread: ModelThread, metrics: Metrics) -> None:
        self.served = served
        self._thread = thread
        self._metrics = metrics
        self._routes = InferenceRoutes(served.name, served.signature)

    async def answer(self, request: Request) -> Response | None:
        """None when no prediction is answered at this path."""
        codec = self._routes.find(_path_of(request))
        if codec is None:
            return None
        exchange = exchange_of(request.scope)
        exchange.protocol = codec.protocol
        headers = dict(request.headers.raw)
        body = await self._read(request, exchange)
        body = decompress(body, headers.get(b"content-encoding", b""), self.served.max_request_bytes)
        decoded = await self._timed("decode", len(body), lambda: codec.decode(headers, body))
        outputs = await self._predict(decoded.inputs, exchange)
        payload = await self._timed("encode", _size(outputs), lambda: codec.encode(decoded, outputs))
        return _response(payload, choose_encoding(headers.get(b"accept-encoding", b"")))

    async def _read(self, request: Request, exchange: Exchange) -> Buffer:
        begun = time.perf_counter()
        body = await read_body(request, self.served.max_request_bytes, self._seconds_left(exchange))
        self._observe("read", time.perf_counter() - begun)
        return body

    async def _timed(self, stage: str, size_bytes: int, work: Callable[[], T]) -> T:
        begun = time.perf_counter()
        result = work() if size_bytes <= _OFF_LOOP_BYTES else await asyncio.to_thread(work)
        self._observe(stage, time.perf_counter() - begun)
        return result

    async def _predict(self, inputs: Mapping[str, Array], exchange: Exchange) -> dict[str, Array]:
        times = [time.perf_counter()] * 3

        def work() -> dict[str, Array]:
            times[1] = time.perf_counter()
            outputs = self.served.model.predict(inputs)
            times[2] = time.perf_counter()
            return outputs

        job = self._thread.submit(work)
        try:
            outputs = await self._wait(job, exchange)
            self._check(outputs)
        except DeviceMemoryError as error:
            raise ApiError(
                500, "device_out_of_memory", f"The memory does not suffice for this request: {error}"
            ) from error
        except PredictionError as error:
            raise ApiError(500, "model_error", f"The model failed on this request: {error}") from error
        queued, begun, ended = times
        self._observe("queue", begun - queued)
        self._observe("compute", ended - begun)
        return outputs

    async def _wait(self, job: Job[T], exchange: Exchange) -> T:
        try:
            async with asyncio.timeout(self._seconds_left(exchange)):
                return await job.wait()
        except TimeoutError:
            where = "running" if job.running else "in_queue"
            raise ApiError(
                504,
                f"deadline_{where}",
                f"The request was not answered within {self.served.request_timeout_seconds} seconds"
                f" (spec.traffic.requestTimeoutSeconds); it was {'being computed' if job.running else 'waiting'}.",
            ) from None

    def _check(self, outputs: Mapping[str, Array]) -> None:
        missing = [spec.name for spec in self.served.signature.outputs if spec.name not in outputs]
        if missing:
            raise PredictionError(f"it gave no {missing}.")

    def _seconds_left(self, exchange: Exchange) -> float:
        return exchange.started_seconds + self.served.request_timeout_seconds - time.perf_counter()

    def model_statistics(self) -> ModelStatistics:
        return ModelStatistics()

    def _observe(self, stage: str, seconds: float) -> None:
        self._metrics.request_counts.observe_stage(stage, seconds)


def _path_of(request: Request) -> bytes:
    path: str = request.scope["path"]
    return path.removeprefix(request.scope.get("root_path", "")).encode()


def _response(payload: Payload, encoding: bytes | None) -> Response:
    parts = payload.parts
    headers = {name.decode(): value.decode() for name, value in payload.headers}
    if encoding and payload.size_bytes >= MIN_COMPRESSED_BYTES:
        parts = compress(parts, encoding)
        headers["Content-Encoding"] = encoding.decode()
    return Response(b"".join(parts), headers=headers, media_type=payload.content_type.decode())


def _size(outputs: Mapping[str, Array]) -> int:
    return sum(array.nbytes for array in outputs.values())
