"""Measures: all servers of one model are started once and stand still (SIGSTOP) while one of them is loaded; rounds are
interleaved, so that what changes on the machine changes for all."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Final

from benchmarks import figures, generator, machine
from benchmarks.failure import ServerError
from benchmarks.generator import Load
from benchmarks.launch import Launch, Running
from benchmarks.machine import Placement
from benchmarks.models import Model
from benchmarks.peers import Peer
from benchmarks.results import RAW, Cell, Growth, Memory, Results
from benchmarks.targets import OPEN_LOAD, SUBJECT

_OPEN_CONNECTIONS: Final = 256
_SETTLE_SECONDS: Final = 0.5
_SPARE_BYTES: Final = 3 * 2**30
"""Below this no further server is started: they all stay in memory."""
_MEMORY_REQUESTS: Final = 2000
_GROWTH_STEPS: Final = 10
_RAW_BATCH_SHARE: Final = 0.25
"""Of a window's seconds, for each batch size of raw torch."""

CELLS: Final = (
    Cell(workload="mlp"),
    Cell(workload="mlp", connections=1),
    Cell(workload="cnn", wire="binary"),
    Cell(workload="cnn"),
    Cell(workload="cnn", wire="binary", connections=1),
    Cell(workload="cnn", connections=1),
    Cell(workload="encoder"),
    Cell(workload="encoder", connections=1),
)
OPEN_CELLS: Final = tuple(Cell(workload="encoder", arrivals=arrivals) for arrivals in ("paced", "poisson", "bursty"))
OPEN_SERVERS: Final = (SUBJECT, "triton")
WORKER_CELLS: Final = tuple(
    Cell(workload=workload, wire=wire, workers=workers)
    for workload, wire in (("encoder", "json"), ("cnn", "binary"))
    for workers in (1, 2)
)


@dataclass(frozen=True)
class Effort:
    rounds: int
    seconds: float
    warmup_seconds: float
    growth_requests: int


@dataclass(frozen=True)
class Suite:
    peers: Sequence[Peer]
    models: dict[str, Model]
    effort: Effort
    results: Results
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)

    def compare(self, workload: str, *, open_loop: bool) -> None:
        """All servers with one model, on one core."""
        placement = machine.one_core(machine.usable())
        with ExitStack() as stack:
            running = self._start_all(workload, placement, stack)
            for number in range(self.effort.rounds):
                self.results.background_busy.append(background())
                order = list(running)
                random.Random(number).shuffle(order)
                for name in order:
                    with self._turn(running, name, workload) as server:
                        self._measure(name, server, workload, placement)
                if open_loop:
                    self._open_loop(running, workload, placement)
                self.say(f"{workload}: round {number + 1} of {self.effort.rounds}")

    def compare_workers(self, workload: str) -> None:
        """The subject with one worker and with two, on all cores; beside it torch alone in one process and in two."""
        by_name = {peer.name: peer for peer in self.peers}
        cells = [cell for cell in WORKER_CELLS if cell.workload == workload]
        cpus = machine.usable()
        if SUBJECT not in by_name or len(cpus) < 2 or not cells:
            return
        placement = machine.all_cores(cpus)
        with ExitStack() as stack:
            running: dict[str, Running] = {}
            for cell in cells:
                launch = Launch(by_name[SUBJECT], self.models[workload], placement.server_list, 1, cell.workers)
                self._start(f"{SUBJECT}, {cell.workers} workers", launch, running, stack)
            raw: dict[str, Running] = {}
            if RAW in by_name:
                for number in (1, 2):
                    launch = Launch(by_name[RAW], self.models[workload], placement.server_list, 1)
                    self._start(f"{RAW}, process {number}", launch, raw, stack)
            for _ in range(self.effort.rounds):
                for cell, (name, server) in zip(cells, list(running.items()), strict=False):
                    with self._turn(running, name, workload):
                        self._load(cell, SUBJECT, server, placement)
                if len(raw) == 2:
                    self._pair(workload, *raw.values())

    def _pair(self, workload: str, first: Running, second: Running) -> None:
        """Rows per second of one process of raw torch at its best batch size, and of two that compute at once."""
        seconds = self.effort.seconds * _RAW_BATCH_SHARE
        with thawed(first):
            alone = max(rows for rows, _ in first.measure(seconds).values())
        with thawed(first), thawed(second), ThreadPoolExecutor(2) as pool:
            both = list(pool.map(lambda server: server.measure(seconds), (first, second)))
        together = max(sum(one[size][0] for one in both) for size in both[0])
        self.results.raw_pairs.setdefault(workload, []).append((alone, together))

    def weigh(self) -> None:
        """Memory of each server with the tiny model, each alone on the machine."""
        placement = machine.one_core(machine.usable())
        for peer in self.peers:
            if "mlp" not in peer.models:
                continue
            began = time.monotonic()
            try:
                with Running(self._launch(peer, "mlp", placement)) as server:
                    server.wait_until_ready()
                    ready = time.monotonic() - began
                    if route := peer.json_route if not peer.speaks_lines else None:
                        load = Load(16, 60, max_requests=_MEMORY_REQUESTS)
                        generator.run(server.port, route, self.models["mlp"], load, placement.generator_list)
                    found = server.footprint()
                    self.results.memory[peer.name] = Memory(
                        own_bytes=found.own_bytes,
                        resident_bytes=found.resident_bytes,
                        processes=found.processes,
                        ready_seconds=ready,
                    )
            except ServerError as error:
                self._absent(peer.name, "mlp", str(error))
        self.say("memory: measured")

    def grow(self) -> None:
        """Memory of the subject over many requests."""
        subject = next((peer for peer in self.peers if peer.name == SUBJECT), None)
        if subject is None or subject.json_route is None:
            return
        placement = machine.one_core(machine.usable())
        step = max(1, self.effort.growth_requests // _GROWTH_STEPS)
        requests, sizes = [], []
        with Running(self._launch(subject, "mlp", placement)) as server:
            server.wait_until_ready()
            for number in range(1, _GROWTH_STEPS + 1):
                load = Load(64, 1200, max_requests=step, seed=number)
                generator.run(server.port, subject.json_route, self.models["mlp"], load, placement.generator_list)
                requests.append(number * step)
                sizes.append(server.footprint().own_bytes)
        self.results.growth = Growth(requests=requests, own_bytes=sizes)
        self.say("growth: measured")

    def _start_all(self, workload: str, placement: Placement, stack: ExitStack) -> dict[str, Running]:
        running: dict[str, Running] = {}
        for peer in self.peers:
            if workload in peer.models:
                self._start(peer.name, self._launch(peer, workload, placement), running, stack)
        return running

    def _start(self, name: str, launch: Launch, running: dict[str, Running], stack: ExitStack) -> None:
        workload = launch.model.workload.name
        began = time.monotonic()
        free = machine.available_bytes()
        if free < _SPARE_BYTES:
            self._absent(launch.peer.name, workload, f"only {free / 2**30:.1f} GiB of memory were left to start it")
            return
        try:
            server = Running(launch)
        except ServerError as error:
            self._absent(launch.peer.name, workload, str(error))
            return
        try:
            server.wait_until_ready()
        except ServerError as error:
            server.end()
            self._absent(launch.peer.name, workload, str(error))
            return
        stack.callback(server.end)
        server.freeze()
        running[name] = server
        self.say(f"{workload}: {name} is ready after {time.monotonic() - began:.1f} s")

    def _launch(self, peer: Peer, workload: str, placement: Placement) -> Launch:
        return Launch(peer, self.models[workload], placement.server_list, len(placement.server))

    @contextmanager
    def _turn(self, running: dict[str, Running], name: str, workload: str) -> Iterator[Running]:
        """One server runs, the others stand still; one that fails in its turn takes no further part."""
        server = running[name]
        server.thaw()
        time.sleep(_SETTLE_SECONDS)
        try:
            yield server
        except ServerError as error:
            self._absent(server.launch.peer.name, workload, f"failed while it was measured: {error}")
            running.pop(name).end()
        else:
            server.freeze()

    def _measure(self, name: str, server: Running, workload: str, placement: Placement) -> None:
        if server.launch.peer.speaks_lines:
            self.results.raw.setdefault(workload, []).append(server.measure(self.effort.seconds * _RAW_BATCH_SHARE))
            return
        for cell in CELLS:
            if cell.workload == workload and server.launch.peer.route(cell.wire):
                self._load(cell, name, server, placement)

    def _load(self, cell: Cell, name: str, server: Running, placement: Placement, rate: float = 0.0) -> None:
        route = server.launch.peer.route(cell.wire)
        assert route is not None
        load = Load(
            connections=cell.connections if cell.arrivals == "closed" else _OPEN_CONNECTIONS,
            seconds=self.effort.seconds,
            warmup_seconds=self.effort.warmup_seconds,
            arrivals=cell.arrivals,
            requests_per_second=rate,
            seed=len(self.results.samples.get(cell.key, {}).get(name, [])) + 1,
        )
        before = server.cpu_seconds()
        outcome = generator.run(server.port, route, server.launch.model, load, placement.generator_list)
        used = 1e6 * (server.cpu_seconds() - before) / max(1, outcome.sent)
        self.results.add(cell, name, replace(outcome, example=outcome.example[:200], cpu_microseconds=used))

    def _open_loop(self, running: dict[str, Running], workload: str, placement: Placement) -> None:
        """Each of the servers at a share of the capacity that it has shown in its closed loops so far."""
        for cell in OPEN_CELLS:
            for name in OPEN_SERVERS:
                capacity = figures.of(self.results, Cell(workload=workload), name, figures.rate)
                if cell.workload == workload and name in running and capacity:
                    with self._turn(running, name, workload) as server:
                        self._load(cell, name, server, placement, OPEN_LOAD * capacity.median)

    def _absent(self, peer: str, workload: str, reason: str) -> None:
        self.results.absent.setdefault(peer, {}).setdefault(workload, reason)
        self.say(f"{workload}: {peer} takes no part: {reason}")


@contextmanager
def thawed(server: Running) -> Iterator[None]:
    server.thaw()
    try:
        yield
    finally:
        server.freeze()


def background(seconds: float = 0.5) -> float:
    """Share of the machine's CPU time that others take while all servers stand still."""
    _, mark = machine.busy_share(None)
    time.sleep(seconds)
    share, _ = machine.busy_share(mark)
    return share
