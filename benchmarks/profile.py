"""Where the runtime's time goes under load: py-spy samples its processes, the samples are summed up by function."""

from __future__ import annotations

import re
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import environments, generator, machine, processes
from benchmarks.failure import ServerError
from benchmarks.generator import Load
from benchmarks.launch import Launch, Running
from benchmarks.models import Model
from benchmarks.peers import Peer

_RATE: Final = 400
_SETTLE_SECONDS: Final = 1.0
_SPARE_SECONDS: Final = 60
_FRAME: Final = re.compile(r"^(?P<name>.+) \((?P<file>[^()]*):\d+\)$")
_WAITS: Final = ("select", "poll", "epoll", "wait", "accept", "_worker", "get", "sleep")


@dataclass(frozen=True)
class Share:
    """Part of the busy samples."""

    where: str
    own: float
    """Of the function itself."""
    whole: float
    """Of the function and what it called."""


def record(peer: Peer, model: Model, wire: str, connections: int, seconds: float) -> list[Share]:
    """Start the server, load it, and sample all its processes. Raises `ServerError` when it cannot be sampled."""
    placement = machine.one_core(machine.usable())
    launch = Launch(peer, model, placement.server_list, len(placement.server))
    route = peer.route(wire)
    if route is None:
        raise ServerError(f"{peer.name} has no route for {wire}")
    with Running(launch) as server:
        server.wait_until_ready()
        load = Load(connections, seconds + 2 * _SETTLE_SECONDS)
        asking = threading.Thread(
            target=generator.run, args=(server.port, route, model, load, placement.generator_list), daemon=True
        )
        asking.start()
        asking.join(_SETTLE_SECONDS)
        shares = shares_of(_sample(server.mark, seconds, placement.generator_list))
        asking.join()
    return shares


def _sample(mark: str, seconds: float, cpus: str) -> list[str]:
    """Lines of "frame;frame;frame count" of every Python process of the server."""
    program = environments.tool("py-spy")
    with tempfile.TemporaryDirectory(prefix="bench-profile-") as folder:
        running = []
        for process in processes.members(mark):
            output = Path(folder) / str(process)
            command = ["taskset", "-c", cpus, str(program), "record", "--pid", str(process), "--output", str(output)]
            command += ["--format", "raw", "--rate", str(_RATE), "--duration", str(int(seconds)), "--nonblocking"]
            running.append(
                (output, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
            )
        lines: list[str] = []
        for output, sampler in running:
            said, _ = sampler.communicate(timeout=seconds + _SPARE_SECONDS)
            if output.exists():
                lines += output.read_text().splitlines()
    if not lines:
        raise ServerError(f"py-spy sampled nothing: {said.strip()[-300:]}")
    return lines


def shares_of(lines: Iterable[str]) -> list[Share]:
    """Functions by their own share of the samples, the largest first."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        frames = [_place(frame) for frame in stack.split(";")]
        if frames[-1].rpartition(" ")[2] in _WAITS:
            continue
        own[frames[-1]] += int(count)
        for frame in set(frames):
            whole[frame] += int(count)
    total = sum(own.values())
    return [Share(where, own[where] / total, whole[where] / total) for where, _ in own.most_common()]


def _place(frame: str) -> str:
    """ "file function", the file as it is below its package's folder."""
    found = _FRAME.match(frame)
    if found is None:
        return frame
    file = re.sub(r"^.*?(site-packages|lib/python3\.\d+|runtime)/", "", found["file"])
    return f"{file} {found['name']}"
