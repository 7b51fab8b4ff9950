"""What one request costs inside the runtime's process, part by part and without sockets: python -m benchmarks micro.

The model is replaced by an engine that answers at once, so what is left is the runtime's own. Microseconds of CPU per
request, the best of several repetitions, because only what disturbs makes it slower.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from time import perf_counter, process_time
from typing import Any, Final

import numpy as np
import uvloop

from benchmarks.peers import Dialect, Route
from benchmarks.wire import http_request
from benchmarks.workloads import DISTINCT_INPUTS, OUTPUT, WORKLOADS, Workload
from slipway_runtime.contract import ArtifactConfig, Datatype, Format, RuntimeConfig, TensorSpec
from slipway_runtime.dispatch.ticket import Ticket
from slipway_runtime.engines.engine import Execution, Layout, LoadedModel
from slipway_runtime.http.connection import Connection
from slipway_runtime.http.exchange import Reply, Request, Shortcut
from slipway_runtime.http.server import HttpServer
from slipway_runtime.lifecycle import Lifecycle
from slipway_runtime.metrics import Metrics
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.v2 import V2Codec
from slipway_runtime.serving.opening import Opened, open_routes
from slipway_runtime.startup import Started
from slipway_runtime.telemetry.record import RequestRecord
from slipway_runtime.telemetry.telemetry import Telemetry

_REPETITIONS: Final = 5
_SECONDS: Final = 0.5
_TOGETHER: Final = 64
"""Requests that arrive in one turn of the loop, as with 64 busy connections."""
_SCORES: Final = 4


class InstantEngine:
    """Answers every batch with zeros before `start` returns."""

    slots = available = 1
    room_ahead = 0
    alive = immediate = True
    failure = None

    def on_available(self, callback: Callable[[], None]) -> None:
        """It is always available."""

    def allocate(self, layout: Layout) -> Mapping[str, Array]:
        return {name: np.empty(shape, kind) for name, (shape, kind) in layout.items()}

    def start(self, execution: Execution) -> None:
        rows = len(next(iter(execution.inputs.values())))
        execution.outputs = {OUTPUT: np.zeros((rows, _SCORES), np.float32)}
        execution.compute_seconds = 1e-6
        execution.done(execution)

    def release(self, execution: Execution) -> None:
        """Nothing is reused."""

    async def close(self) -> None:
        """Nothing runs."""


class Sink:
    """A transport, and a reply, that counts."""

    def __init__(self) -> None:
        self.answers = 0
        self.on_disconnect: Callable[[], None] | None = None

    def send(self, status: int, content_type: bytes, parts: Sequence[Any], headers: Sequence[Any] = ()) -> None:
        if status != 200:
            raise AssertionError(f"answered {status}: {b''.join(parts)!r}")
        self.answers += 1

    def charge(self, size_bytes: int) -> None: ...

    def write(self, data: bytes) -> None:
        self.answers += data.count(b"HTTP/1.1 200")

    def writelines(self, pieces: Sequence[bytes]) -> None:
        self.write(b"".join(pieces))

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else None

    def set_write_buffer_limits(self, high: int) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False


@dataclass(frozen=True)
class Bench:
    """The parts of one model, without the model."""

    workload: Workload
    codec: V2Codec
    opened: Opened
    telemetry: Telemetry
    rows: np.ndarray[Any, Any]

    @property
    def route(self) -> Route:
        return Route(path=f"/v2/models/{self.workload.name}/infer", dialect=Dialect.OIP_JSON)

    def http(self, dialect: Dialect) -> list[bytes]:
        route = self.route.model_copy(update={"dialect": dialect})
        return [http_request(route, self.workload, row) for row in self.rows]


def bench_of(workload: Workload) -> Bench:
    """In the loop's thread."""
    config = RuntimeConfig(name=workload.name, artifact=ArtifactConfig(uri="file:///none"))
    given = TensorSpec(name="x", datatype=Datatype(workload.datatype), shape=[-1, *workload.row_shape])
    answered = TensorSpec(name=OUTPUT, datatype=Datatype.FP32, shape=[-1, _SCORES])
    signature = Signature((given,), (answered,))
    points = dict.fromkeys((1, 2, 4, 8, 16, 32, 64), (1e-05,) * 3)
    facts = LoadedModel(
        Format.TORCH_SCRIPT, "cpu", signature, points, bucket=(workload.row_shape,), max_batch_size=_TOGETHER
    )
    lifecycle = Lifecycle()
    metrics = Metrics(lifecycle)
    telemetry = Telemetry(config, metrics)
    opened = open_routes(config, lifecycle, metrics, telemetry, Started(InstantEngine(), facts))
    random = np.random.default_rng(0)
    shape = (DISTINCT_INPUTS, *workload.row_shape)
    rows = (
        random.integers(0, 1000, shape) if workload.datatype == "INT64" else random.standard_normal(shape, np.float32)
    )
    return Bench(workload, V2Codec(workload.name, signature), opened, telemetry, rows)


async def cost(step: Callable[[], int], settle: Callable[[], bool] = lambda: True) -> float:
    """Microseconds of CPU per unit of `step`, which tells how many units it did.

    The loop turns until `settle` says yes. CPU time, because others may use the machine at the same time.
    """
    best = float("inf")
    for _ in range(_REPETITIONS):
        units, began, until = 0, process_time(), perf_counter() + _SECONDS / _REPETITIONS
        while perf_counter() < until:
            units += step()
            while not settle():  # noqa: ASYNC110 - one turn of the loop is what is measured
                await asyncio.sleep(0)
        best = min(best, (process_time() - began) / units)
    return best * 1e6


async def codec_costs(bench: Bench, dialect: Dialect) -> dict[str, float]:
    requests = [request.partition(b"\r\n\r\n") for request in bench.http(dialect)]
    headers = [
        {name.lower(): value for name, _, value in (line.partition(b": ") for line in head.split(b"\r\n")[1:])}
        for head, _, _ in requests
    ]
    bodies = [body for _, _, body in requests]
    codec = bench.codec

    def decode() -> int:
        for header, body in zip(headers, bodies, strict=True):
            codec.decode(header, body)
        return len(bodies)

    decoded = codec.decode(headers[0], bodies[0])
    outputs = {OUTPUT: np.random.default_rng(0).standard_normal((1, _SCORES), np.float32)}

    def encode() -> int:
        codec.encode(decoded, outputs)
        return 1

    return {"decode": await cost(decode), "encode": await cost(encode)}


async def dispatch_cost(bench: Bench, together: int) -> float:
    inputs = {"x": bench.rows[:1]}
    answered = [0]

    def done(ticket: Ticket) -> None:
        answered[0] += 1

    def submit() -> int:
        answered[0] = 0
        for _ in range(together):
            bench.opened.dispatcher.submit(Ticket(inputs, done, 0, None, perf_counter()))
        return together

    return await cost(submit, lambda: answered[0] >= together)


async def endpoint_cost(bench: Bench, together: int) -> float:
    """From a parsed HTTP request to an answer that only waits to be written."""
    endpoint = bench.opened.routes[bench.route.path.encode()]
    _, _, body = bench.http(Dialect.OIP_JSON)[0].partition(b"\r\n\r\n")
    sink = Sink()

    def submit() -> int:
        sink.answers = 0
        for _ in range(together):
            now = perf_counter()
            endpoint(Request(b"POST", b"/", b"", {}, body, now, now, "127.0.0.1", "id"), sink)
        return together

    return await cost(submit, lambda: sink.answers >= together)


async def connection_cost(
    bench: Bench,
    routes: Mapping[bytes, Callable[[Request, Reply], None]],
    shortcuts: dict[bytes, Shortcut] | None = None,
    connected: int = _TOGETHER,
) -> float:
    """From the bytes of a request to the bytes of its answer, on so many connections."""

    async def nothing_else(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError(scope)

    server = HttpServer(nothing_else)
    server.loop = asyncio.get_running_loop()
    server.routes = routes
    server.heads.open(shortcuts or {})
    sink = Sink()
    connections = [Connection(server) for _ in range(connected)]
    for connection in connections:
        connection.connection_made(sink)  # type: ignore[arg-type]
    requests = cycle(bench.http(Dialect.OIP_JSON))

    def send() -> int:
        sink.answers = 0
        for connection in connections:
            request = next(requests)
            place = connection.get_buffer(len(request))
            place[: len(request)] = request
            connection.buffer_updated(len(request))
        return connected

    return await cost(send, lambda: sink.answers >= connected)


async def telemetry_cost(bench: Bench) -> float:
    def finish() -> int:
        record = RequestRecord(
            protocol="v2", method="POST", path="/v2/models/mlp/infer", client="127.0.0.1", request_id="id", bytes_in=100
        )
        bench.telemetry.begin(record, None)
        record.status, record.rows, record.batch_rows = 200, 1, 1
        bench.telemetry.finish(record)
        return 1

    return await cost(finish)


def _constant(request: Request, reply: Reply) -> None:
    reply.send(200, b"application/json", [b"{}"])


async def measure() -> list[tuple[str, float]]:
    """Part and microseconds per request."""
    mlp = bench_of(WORKLOADS["mlp"])
    path = mlp.route.path.encode()
    rows = [
        ("HTTP alone: bytes in, constant answer out, 64 connections", await connection_cost(mlp, {path: _constant})),
        ("telemetry: begin and finish", await telemetry_cost(mlp)),
        ("dispatcher, 1 request in a turn", await dispatch_cost(mlp, 1)),
        (f"dispatcher, {_TOGETHER} requests in a turn", await dispatch_cost(mlp, _TOGETHER)),
        ("endpoint (decode, dispatch, encode, telemetry), 1 request in a turn", await endpoint_cost(mlp, 1)),
        (f"endpoint, {_TOGETHER} requests in a turn", await endpoint_cost(mlp, _TOGETHER)),
        ("everything: bytes in, answer's bytes out, 64 connections", await connection_cost(mlp, mlp.opened.routes)),
        (
            "the same, together where they are alike",
            await connection_cost(mlp, mlp.opened.routes, mlp.opened.shortcuts),
        ),
        ("the same, 1 connection", await connection_cost(mlp, mlp.opened.routes, mlp.opened.shortcuts, 1)),
    ]
    for workload in WORKLOADS.values():
        bench = bench_of(workload)
        for dialect in (Dialect.OIP_JSON, Dialect.OIP_BINARY):
            costs = await codec_costs(bench, dialect)
            rows += [(f"{workload.name}, {dialect}: {part}", value) for part, value in costs.items()]
    return rows


def main() -> list[tuple[str, float]]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, _quiet():
        return runner.run(measure())


@contextmanager
def _quiet() -> Iterator[None]:
    """The access log is written, as it is when serving, to where nobody reads it."""
    sys.stdout.flush()
    output, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(output, 1)
        os.close(output)
        os.close(nowhere)
