"""One run: start the runtime, load it, disturb it, and look at what is left."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc

from tests.runtime.server import RuntimeServer
from tests.soak.clients import MAX_REQUEST_BYTES, REQUEST_TIMEOUT_SECONDS
from tests.soak.faults import Faults
from tests.soak.load import Load
from tests.soak.questions import MODEL
from tests.soak.system import Gateway, becomes
from tests.soak.timeline import Event, around, logged
from tests.soak.verdict import Tally
from tests.soak.wire import Server

WORKERS: Final = 2
_DRAIN_SECONDS: Final = 1
_GRACE_SECONDS: Final = 60.0
"""For a drain delay of 1 s, requests of 5 s and an end of 2 s, on a machine that does other work."""
_LOADING_SECONDS: Final = 400.0
"""For workers to load torch and the model on a machine that does much other work."""
_SETTLE_SECONDS: Final = 120.0
"""For the kernel to give up connections."""
_CALIBRATION_SECONDS: Final = 2.0
_SAMPLE_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 0.5
"""So late the clients' own loop is worth telling of: what they measure then is themselves."""
_LONG_SECONDS: Final = 100.0
"""Shorter runs say nothing about growth: the allocator still warms up."""
_GROWTH: Final = 1.1
_GROWTH_BYTES: Final = 16 << 20
_AT_REST: Final = (
    "slipway_runtime_queue_requests",
    "slipway_runtime_queue_rows",
    "slipway_runtime_requests_in_flight",
    "slipway_runtime_inflight_bytes",
    "slipway_runtime_http_connections",
)


@dataclass
class Report:
    seed: int
    seconds: float
    tally: Tally = field(default_factory=lambda: Tally(time.time))
    begun: float = 0.0
    """Unix time of the load's start."""
    events: list[Event] = field(default_factory=list)
    """What happened beside the clients' requests."""
    faults: dict[str, int] = field(default_factory=dict)
    capacity: float = 0.0
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return not self.tally.violation_count

    def text(self) -> str:
        facts = {
            "requests": str(self.tally.total),
            "honest requests per second, undisturbed": f"{self.capacity:.0f}",
            **{f"workers {fault}": str(count) for fault, count in sorted(self.faults.items())},
            **self.facts,
        }
        lines = [
            self.tally.table(),
            "",
            "| | |",
            "|---|---:|",
            *(f"| {name} | {value} |" for name, value in facts.items()),
        ]
        if not self.passed:
            tally = self.tally
            told = around([*tally.violations, *self.events], [event.at for event in tally.violations])
            lines += ["", f"{tally.violation_count} violations: {tally.moments()}.", "", "What happened then:", ""]
            lines += [event.line(self.begun) for event in told]
            lines += ["", f"Run it again: python -m tests.soak --seconds {self.seconds:g} --seed {self.seed}"]
        return "\n".join(lines)


def write_config(folder: Path, archive: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.json"
    config = {
        "name": MODEL,
        "artifact": {"uri": f"file://{archive}"},
        "engine": {"kind": "Worker", "workers": WORKERS, "threads": 1},
        "tuning": {"enabled": False},
        "batching": {"maxQueueLength": 64, "maxBatchSize": 16},
        "requestTimeoutSeconds": REQUEST_TIMEOUT_SECONDS,
        "maxRequestBytes": MAX_REQUEST_BYTES,
        # More than clients can have in flight, so it is only reached when places that were taken are not given back.
        "maxConcurrency": 1024,
        "drainDelaySeconds": _DRAIN_SECONDS,
        "limits": {"headerTimeoutSeconds": 2, "maxInflightBytes": 8 << 20},
        "grpcPort": 0,
    }
    path.write_text(json.dumps(config))
    return path


async def soak(archive: Path, folder: Path, seconds: float, seed: int) -> Report:
    """The runtime is ended and everything closed, whatever happens."""
    report = Report(seed, seconds)
    server = RuntimeServer(folder / "run", "--config", str(write_config(folder, archive)))
    try:
        await _start(server)
        await _load(server, report)
        await _end(server, report)
        report.events += logged(server.log)
    finally:
        server.kill()
    return report


async def _start(server: RuntimeServer) -> None:
    deadline = time.monotonic() + _LOADING_SECONDS
    while True:
        try:
            await asyncio.to_thread(server.wait_until_ready)
        except AssertionError:
            if server.process.poll() is not None or time.monotonic() > deadline:
                raise
        else:
            return


async def _load(server: RuntimeServer, report: Report) -> None:
    tally = report.tally
    gateway = Gateway(server)
    host, port = server.address.split(":")
    http = Server(host, int(port))
    chance = random.Random(report.seed)
    async with grpc.aio.insecure_channel(server.grpc_address) as channel:
        load = Load(http, channel, chance, tally)
        await load.each_once()
        report.capacity = await load.capacity(_CALIBRATION_SECONDS)
        await http.close()
        await _rest(gateway, tally)
        descriptors, memory = gateway.descriptors, [gateway.memory_bytes]
        report.begun = time.time()
        faults = Faults(gateway, random.Random(report.seed + 1), report.events)
        watching = [asyncio.create_task(faults.run()), asyncio.create_task(_sample(gateway, memory, report))]
        try:
            await load.run(report.seconds, report.capacity)
        finally:
            for task in watching:
                task.cancel()
            for result in await asyncio.gather(*watching, return_exceptions=True):
                if not isinstance(result, asyncio.CancelledError):
                    tally.blame(f"The watch ended: {result!r}")
            faults.end()
        report.faults = dict(faults.counts)
        for port, seconds in load.longest.items():
            report.facts[f"longest wait of an honest client, {port}"] = f"{seconds:.1f} s"
        await _recover(gateway, load, tally)
        for cause in ("crash", "hang", "protocol", "start"):
            restarts = await gateway.metric("slipway_runtime_worker_restarts_total", f'cause="{cause}"')
            report.facts[f"workers started again after {cause}"] = f"{restarts:g}"
        await http.close()
        await _rest(gateway, tally)
        if not await becomes(lambda: gateway.descriptors <= descriptors, _SETTLE_SECONDS):
            tally.blame(f"{gateway.descriptors} open descriptors at the end, {descriptors} at the start")
        report.facts["open descriptors, start and end"] = f"{descriptors}, {gateway.descriptors}"
        _judge_memory(memory, report)


async def _recover(gateway: Gateway, load: Load, tally: Tally) -> None:
    """All workers are back, none is left over, and everybody is answered again."""
    deadline = time.monotonic() + _LOADING_SECONDS
    while await gateway.workers_up() != WORKERS:
        if time.monotonic() > deadline:
            tally.blame(f"{await gateway.workers_up()} of {WORKERS} workers came back")
            break
        await asyncio.sleep(0.2)
    if not await becomes(lambda: not gateway.zombies and len(gateway.workers) == WORKERS, _SETTLE_SECONDS):
        tally.blame(f"processes {gateway.workers} and zombies {gateway.zombies}, expected {WORKERS} and none")
    for wrong in await load.calm():
        tally.blame(wrong)


async def _rest(gateway: Gateway, tally: Tally) -> None:
    """Nothing is queued, computed, held or connected."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while left := {name: value for name in _AT_REST if (value := await gateway.metric(name))}:
        if time.monotonic() > deadline:
            tally.blame(f"At rest there are still {left}")
            return
        await asyncio.sleep(0.2)


async def _sample(gateway: Gateway, memory: list[int], report: Report) -> None:
    longest = 0.0
    while True:
        memory.append(gateway.memory_bytes)
        begun = time.monotonic()
        await asyncio.sleep(_SAMPLE_SECONDS)
        late = time.monotonic() - begun - _SAMPLE_SECONDS
        if late > _PAUSE_SECONDS:
            report.events.append(Event(time.time(), "clients", f"their own loop was {late:.1f} s late"))
        longest = max(longest, late)
        report.facts["longest delay of the clients' own loop"] = f"{longest:.2f} s"


def _judge_memory(memory: Sequence[int], report: Report) -> None:
    """The last quarter of the run beside the second: no more than the noise of an allocator."""
    quarter = max(1, len(memory) // 4)
    before, after = (sum(part) / len(part) for part in (memory[quarter : 2 * quarter] or memory, memory[-quarter:]))
    report.facts["gateway's own memory, second and last quarter"] = f"{before / 2**20:.1f} MiB, {after / 2**20:.1f} MiB"
    if report.seconds >= _LONG_SECONDS and after > before * _GROWTH + _GROWTH_BYTES:
        report.tally.blame(f"The gateway's memory grew from {before:.0f} to {after:.0f} bytes")


async def _end(server: RuntimeServer, report: Report) -> None:
    begun = time.monotonic()
    server.terminate()
    await becomes(lambda: server.process.poll() is not None, _GRACE_SECONDS)
    code = server.process.poll()
    if code != 0:
        report.tally.blame(f"After SIGTERM the exit code was {code}, expected 0 within {_GRACE_SECONDS:g} s")
    report.facts["seconds from SIGTERM to the end"] = f"{time.monotonic() - begun:.1f}"
    if "Traceback" in server.errors or any("Traceback" in json.dumps(line) for line in server.log):
        report.tally.blame(f"The runtime failed somewhere: {server.errors[-2000:]}")
