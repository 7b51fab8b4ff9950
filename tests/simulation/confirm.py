"""The simulator's question put to the real runtime: python -m tests.simulation.confirm [--seconds 20].

A real process serves a real model whose weights are too large for the caches, so that batches pay on any CPU. Requests
come open loop, at shares of the throughput that a closed loop reached just before; a refused one counts as missed.
Latency is the client's, from the moment a request was due, so it holds the network stack and the client as well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Final, cast

import numpy as np
import uvloop

from tests.runtime.server import RuntimeServer
from tests.simulation.arrivals import bursty, poisson

_WIDTH: Final = 2048
_LAYERS: Final = 4
_INPUTS: Final = 64
_CONNECTIONS: Final = 64
_ARRIVALS: Final = {"Poisson": poisson, "bursty": bursty}
_LOADS: Final = (0.8, 0.95, 1.2)
_OK: Final = 200
_PAUSE_SECONDS: Final = 0.05
"""Of a client of the closed loop that was refused."""
_SEED: Final = 5


@dataclass
class Outcome:
    """Latencies in seconds and statuses of all requests of one run."""

    latencies: list[float] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    def served(self) -> list[float]:
        return [seconds for seconds, status in zip(self.latencies, self.statuses, strict=True) if status == _OK]

    def in_target(self, target_seconds: float) -> float:
        return sum(seconds <= target_seconds for seconds in self.served()) / max(1, len(self.statuses))


class Client(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._received = b""
        self._done: asyncio.Future[int] | None = None
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def ask(self) -> asyncio.Future[int]:
        assert self._transport is not None
        self._received = b""
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(self._request)
        return self._done

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or self._done is None or self._done.done():
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            self._done.set_result(int(head[9:12]))

    def connection_lost(self, error: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(0)


class Clients:
    def __init__(self, host: str, port: int, request: bytes) -> None:
        self._address = (host, port)
        self._request = request
        self._idle: deque[Client] = deque()

    async def ask(self) -> int:
        client = self._idle.pop() if self._idle else await self._connect()
        status = await client.ask()
        if status:
            self._idle.append(client)
        return status

    async def _connect(self) -> Client:
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: Client(self._request), *self._address)
        return client


async def throughput(clients: Clients, seconds: float) -> float:
    """Requests per second of a closed loop."""
    end, answered = perf_counter() + seconds, 0

    async def repeat() -> None:
        nonlocal answered
        while perf_counter() < end:
            if await clients.ask() == _OK:
                answered += 1
            else:
                await asyncio.sleep(_PAUSE_SECONDS)

    begun = perf_counter()
    await asyncio.gather(*(repeat() for _ in range(_CONNECTIONS)))
    return answered / (perf_counter() - begun)


async def offer(clients: Clients, arrivals: Sequence[float]) -> Outcome:
    """Each request at its time, whatever became of those before."""
    outcome = Outcome()
    begun = perf_counter()

    async def one(at: float) -> None:
        status = await clients.ask()
        outcome.latencies.append(perf_counter() - begun - at)
        outcome.statuses.append(status)

    tasks = []
    for at in arrivals:
        await asyncio.sleep(at - (perf_counter() - begun))
        tasks.append(asyncio.create_task(one(at)))
    await asyncio.gather(*tasks)
    return outcome


def save_model(path: Path) -> Path:
    import torch

    from slipway.torchscript import save

    layers: list[torch.nn.Module] = [torch.nn.Linear(_INPUTS, _WIDTH), torch.nn.ReLU()]
    for _ in range(_LAYERS):
        layers += [torch.nn.Linear(_WIDTH, _WIDTH), torch.nn.ReLU()]
    layers.append(torch.nn.Linear(_WIDTH, 4))
    save(torch.nn.Sequential(*layers).eval(), path, inputs={"x": torch.zeros(1, _INPUTS)}, outputs=["y"])
    return path


def binary_request(host: str) -> bytes:
    tensor = np.random.default_rng(_SEED).standard_normal((1, _INPUTS)).astype(np.float32).tobytes()
    inputs = [
        {
            "name": "x",
            "datatype": "FP32",
            "shape": [1, _INPUTS],
            "parameters": {"binary_data_size": len(tensor)},
        }
    ]
    head = json.dumps({"inputs": inputs}).encode()
    return (
        (
            f"POST /v2/models/m/infer HTTP/1.1\r\nHost: {host}\r\nInference-Header-Content-Length: {len(head)}\r\n"
            f"Content-Length: {len(head) + len(tensor)}\r\n\r\n"
        ).encode()
        + head
        + tensor
    )


async def measure(server: RuntimeServer, seconds: float, target_seconds: float) -> None:
    host, _, port = server.address.partition(":")
    clients = Clients(host, int(port), binary_request(server.address))
    await throughput(clients, seconds / 4)  # the profile settles
    capacity = await throughput(clients, seconds / 2)
    print(f"A closed loop of {_CONNECTIONS} connections: {capacity:.0f} requests per second.\n")
    print("| arrivals | load | in target | refused | p99 of the answers / target |")
    print("|---|---:|---:|---:|---:|")
    rng = np.random.default_rng(_SEED)
    for name, arrivals in _ARRIVALS.items():
        for load in _LOADS:
            outcome = await offer(clients, arrivals(rng, load * capacity, seconds).tolist())
            served = outcome.served()
            refused = 1 - len(served) / max(1, len(outcome.statuses))
            p99 = float(np.quantile(served, 0.99)) / target_seconds if served else float("nan")
            share = outcome.in_target(target_seconds)
            print(f"| {name} | {load} | {100 * share:.1f} % | {100 * refused:.1f} % | {p99:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.confirm", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each run")
    parser.add_argument("--target", type=int, default=200, help="p99 in milliseconds")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "config.json"
        settings = {
            "name": "m",
            "artifact": {"uri": f"file://{save_model(folder / 'wide.pt')}"},
            "sla": {"p99Milliseconds": arguments.target},
            "tuning": {"enabled": False},
            "accessLog": {"enabled": False},
        }
        config.write_text(json.dumps(settings))
        server = RuntimeServer(folder / "run", "--config", str(config)).wait_until_ready()
        try:
            uvloop.run(measure(server, arguments.seconds, arguments.target / 1000))
        finally:
            server.kill()


if __name__ == "__main__":
    main()
