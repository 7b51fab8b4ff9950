"""The gRPC server over loopback with a dispatcher that needs no model: what a test tells it to answer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from slipway_runtime.contract import Datatype, RuntimeConfig, TensorSpec
from slipway_runtime.dispatch.concurrency import Concurrency
from slipway_runtime.dispatch.ticket import Ticket
from slipway_runtime.http.auth import ApiKeys
from slipway_runtime.http.budget import ByteBudget
from slipway_runtime.lifecycle import Lifecycle
from slipway_runtime.metrics import Metrics
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.signature import Signature
from slipway_runtime.rpc.codec import GrpcCodec
from slipway_runtime.rpc.description import Description
from slipway_runtime.rpc.server import GrpcServer
from slipway_runtime.rpc.service import Backend, Gateway
from slipway_runtime.telemetry.telemetry import Telemetry

Compute = Callable[[Ticket], Mapping[str, Array] | Exception | None]
"""None: not answered until the client leaves."""


class TestDispatch:
    """Answers in the loop's next round."""

    __test__ = False

    def __init__(self, compute: Compute) -> None:
        self.compute = compute
        self.submitted: list[Ticket] = []
        self.cancelled: list[Ticket] = []
        self.changed = threading.Event()

    def submit(self, ticket: Ticket) -> None:
        self.submitted.append(ticket)
        self.changed.set()
        asyncio.get_running_loop().call_soon(self._answer, ticket)

    def cancel(self, ticket: Ticket) -> None:
        self.cancelled.append(ticket)
        self.changed.set()

    def _answer(self, ticket: Ticket) -> None:
        answer = self.compute(ticket)
        if answer is None or ticket in self.cancelled:
            return
        ticket.started_at = ticket.ended_at = ticket.offered_at + 0.001
        ticket.compute_seconds, ticket.batch_rows = 0.002, 4
        if isinstance(answer, Exception):
            ticket.error = answer  # type: ignore[assignment]
        else:
            ticket.outputs = answer
        ticket.done(ticket)


def echo(ticket: Ticket) -> Mapping[str, Array]:
    return {f"{name}_out": array for name, array in ticket.inputs.items()}


def echo_signature(*inputs: TensorSpec) -> Signature:
    outputs = tuple(spec.model_copy(update={"name": f"{spec.name}_out"}) for spec in inputs)
    return Signature(inputs, outputs)


X = TensorSpec(name="x", datatype=Datatype.FP32, shape=[-1, 2])


class RpcServer:
    """In a thread with a loop of its own."""

    def __init__(
        self,
        *,
        signature: Signature | None = None,
        compute: Compute = echo,
        keys: ApiKeys | None = None,
        budget_bytes: int = 1 << 30,
        ready: bool = True,
        **settings: Any,
    ) -> None:
        self.config = RuntimeConfig.model_validate(
            {"name": "m", "artifact": {"uri": "file:///m"}, "accessLog": {"enabled": False}, **settings}
        )
        self.dispatch = TestDispatch(compute)
        self.lifecycle = Lifecycle()
        self.metrics = Metrics(self.lifecycle)
        self.budget = ByteBudget(budget_bytes)
        telemetry = Telemetry(self.config, self.metrics)
        self.counts = self.metrics.grpc_counts
        self.gateway = Gateway.of(self.config, telemetry, self.lifecycle, keys, self.budget, self.counts)
        self.concurrency = Concurrency(self.config.max_concurrency)
        self._server = GrpcServer(self.config, self.gateway)
        self._backend = Backend(
            GrpcCodec("m", signature or echo_signature(X)),
            self.dispatch,
            Description(
                server=lambda: {"name": "slipway", "version": "0", "extensions": ["statistics"]},
                model=lambda: {"name": "m", "versions": ["1"], "platform": "pytorch_torchscript", "unknown": 1},
                config=lambda: {"name": "m", "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [2]}]},
                statistics=lambda: {"model_stats": [{"name": "m", "version": "1", "inference_count": 3}]},
                index=lambda ready: [{"name": "m", "version": "1", "state": "READY", "reason": ""}],
            ),
            self.concurrency,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.run(self._server.start("127.0.0.1", 0))
        if ready:
            self.open()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.port}"

    @property
    def begun_calls(self) -> int:
        return self._server.begun_calls

    def run(self, coroutine: Any, seconds: float = 30) -> Any:
        return self.post(coroutine).result(seconds)

    def post(self, coroutine: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def open(self) -> None:
        self.lifecycle.become_ready()
        self._loop.call_soon_threadsafe(self._server.open, self._backend)

    def drain(self) -> None:
        self.lifecycle.drain()
        self._loop.call_soon_threadsafe(self._server.drain)

    def stop(self, grace_seconds: float = 5) -> Future[Any]:
        return self.post(self._server.stop(grace_seconds))

    def close(self) -> None:
        self.stop(0).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def total(self, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value("slipway_runtime_requests_total", labels)


Serve = Callable[..., RpcServer]


@contextmanager
def serving() -> Iterator[Serve]:
    """Starts servers, and ends them."""
    started: list[RpcServer] = []

    def start(**more: Any) -> RpcServer:
        server = RpcServer(**more)
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()


def request_of(*values: float) -> Any:
    request = service_pb2.ModelInferRequest(model_name="m")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    request.raw_input_contents.append(np.array([values], np.float32).tobytes())
    return request


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


def failed(call: Callable[[], Any]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value
