"""A runtime from a connection's bytes to the answer's, with a model of two lines: y = 2x + 1, z = the sum of a row."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from slipway_runtime.contract import (
    AccessLogConfig,
    ArtifactConfig,
    BatchingConfig,
    Datatype,
    Format,
    LimitsConfig,
    RuntimeConfig,
    TensorSpec,
)
from slipway_runtime.engines.engine import Execution, Layout, LoadedModel
from slipway_runtime.http.connection import Connection
from slipway_runtime.http.rules import Rules
from slipway_runtime.http.server import HttpServer
from slipway_runtime.lifecycle import Lifecycle
from slipway_runtime.metrics import Metrics
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.model import PredictionError
from slipway_runtime.models.signature import Signature
from slipway_runtime.serving.opening import Opened, open_routes
from slipway_runtime.startup import Started
from slipway_runtime.telemetry.accesslog import AccessLog
from slipway_runtime.telemetry.record import RequestRecord
from slipway_runtime.telemetry.telemetry import Telemetry

WIDTH = 3
PATH = "/v2/models/sum/infer"
ROW = [1.0, 2.0, 3.5]
SIGNATURE = Signature(
    (TensorSpec(name="x", datatype=Datatype.FP32, shape=[-1, WIDTH]),),
    (
        TensorSpec(name="y", datatype=Datatype.FP32, shape=[-1, WIDTH]),
        TensorSpec(name="z", datatype=Datatype.FP64, shape=[-1, 1]),
    ),
)
FACTS = LoadedModel(
    Format.TORCH_SCRIPT, "cpu", SIGNATURE, {1: (1e-5,) * 3, 16: (2e-5,) * 3}, bucket=((WIDTH,),), max_batch_size=16
)


@dataclass
class InLoopEngine:
    """Computes before `start` returns. A row that begins with `poison` fails its whole batch."""

    sizes: list[int] = field(default_factory=list)
    poison: float | None = None
    slots = available = 1
    room_ahead = 0
    alive = immediate = True
    failure = None

    def on_available(self, callback: Any) -> None:
        """It always is."""

    def allocate(self, layout: Layout) -> Mapping[str, Array]:
        return {name: np.full(shape, np.nan, kind) for name, (shape, kind) in layout.items()}

    def start(self, execution: Execution) -> None:
        x = execution.inputs["x"]
        self.sizes.append(len(x))
        if self.poison is not None and (x[:, 0] == self.poison).any():
            execution.error = PredictionError("poisoned")
        else:
            with np.errstate(all="ignore"):
                execution.outputs = {"y": 2 * x + 1, "z": x.sum(axis=1, keepdims=True, dtype=np.float64)}
        execution.compute_seconds = 1e-5
        execution.done(execution)

    def release(self, execution: Execution) -> None:
        """What was borrowed is overwritten, as shared memory would be."""
        for array in (execution.outputs or {}).values():
            array[...] = -1

    async def close(self) -> None:
        """Nothing runs."""


class Wire:
    """A transport that keeps what was written."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, pieces: Sequence[bytes]) -> None:
        self.written += b"".join(pieces)

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else None

    def close(self) -> None:
        self.closed = True

    abort = write_eof = close

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


@dataclass
class Answered:
    status: int
    headers: dict[str, str]
    body: Any


class Line:
    """One client's connection."""

    def __init__(self, server: HttpServer) -> None:
        self.wire = Wire()
        self.connection = Connection(server)
        self.connection.connection_made(self.wire)  # type: ignore[arg-type]

    def send(self, data: bytes) -> None:
        self.connection.get_buffer(len(data))[: len(data)] = data
        self.connection.buffer_updated(len(data))

    def answers(self) -> list[Answered]:
        """Those that were written since the last call."""
        rest, self.wire.written = self.wire.written, b""
        found = []
        while rest:
            head, _, rest = rest.partition(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            size = int(headers["content-length"])
            found.append(Answered(int(first.split()[1]), headers, json.loads(rest[:size])))
            rest = rest[size:]
        return found


class House:
    """To be made in a running loop. `together` is what is under test: with it, alike requests share the way."""

    def __init__(
        self,
        *,
        together: bool = True,
        batching: BatchingConfig | None = None,
        max_concurrency: int | None = None,
        logs: bool = False,
        triton: bool = False,
        **server: Any,
    ) -> None:
        config = RuntimeConfig(
            name="sum",
            artifact=ArtifactConfig(uri="file:///none"),
            batching=batching or BatchingConfig(),
            max_concurrency=max_concurrency,
            access_log=AccessLogConfig(enabled=False),
            triton_metrics=triton,
        )
        self.engine = InLoopEngine()
        self.metrics = Metrics(Lifecycle())
        self.telemetry = Telemetry(config, self.metrics)
        self.logged: list[bytes] = []
        if logs:
            self.telemetry._log = AccessLog(AccessLogConfig(), self.logged.append)
        self.refused: list[RequestRecord] = []
        self.server = HttpServer(
            _nothing_else, Rules("sum", limits=LimitsConfig()), observe=self.refused.append, **server
        )
        self.server.loop = asyncio.get_running_loop()
        self.server.date_line = b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
        self.opened: Opened = open_routes(
            config,
            Lifecycle(),
            self.metrics,
            self.telemetry,
            Started(self.engine, FACTS),
            lambda: self.server.date_line,
        )
        self.server.routes = self.opened.routes
        self.server.heads.open(self.opened.shortcuts if together else {})

    def line(self) -> Line:
        return Line(self.server)

    def close(self) -> None:
        self.telemetry.close()


async def settle() -> None:
    for _ in range(6):
        await asyncio.sleep(0)


def request(body: bytes, *headers: str, path: str = PATH) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def plain(rows: Sequence[Sequence[float]], **more: Any) -> bytes:
    data = [number for row in rows for number in row]
    tensor = {"name": "x", "shape": [len(rows), WIDTH], "datatype": "FP32", "data": data}
    return json.dumps({"inputs": [tensor], **more}).encode()


async def taught(house: House, lines: int = 3) -> list[Line]:
    """Connections of a house that knows the text of `plain([ROW])`."""
    found = [house.line() for _ in range(lines)]
    for _ in range(2):
        for line in found:
            line.send(request(plain([ROW])))
            await settle()
            assert line.answers()[0].status == 200
    house.engine.sizes.clear()
    return found


def run(test: Any, **built: Any) -> Any:
    """`test(house)` in a loop, with a house of its own; `built` is how it is made."""

    async def go() -> Any:
        house = House(**built)
        try:
            return await test(house)
        finally:
            house.close()

    return asyncio.run(go())


def totals(house: House) -> dict[Any, int]:
    """Requests by protocol, status and reason."""
    return dict(house.metrics.request_counts._totals)


async def _nothing_else(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError(scope)
