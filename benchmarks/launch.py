"""Start a server, wait until it answers right, freeze it while others are measured, and end it with all it started."""

from __future__ import annotations

import json
import os
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from benchmarks import environments, processes
from benchmarks.failure import ServerError
from benchmarks.models import Model
from benchmarks.peers import Peer, fill
from benchmarks.places import HERE, PEERS
from benchmarks.wire import ask

_POLL_SECONDS: Final = 0.1
_STOP_SECONDS: Final = 10.0
_LOG_BYTES: Final = 600
_MEASURE_SECONDS: Final = 120.0


@dataclass(frozen=True)
class Launch:
    """What is started where."""

    peer: Peer
    model: Model
    cpus: str
    """As taskset takes them."""
    threads: int
    workers: int = 0
    """Of the subject's worker engine; 0 leaves the choice to it."""
    variables: dict[str, str] = field(default_factory=dict)


class Running:
    """All processes of one launch. A context manager: nothing is left when it ends."""

    def __init__(self, launch: Launch) -> None:
        if reason := launch.peer.missing():
            raise ServerError(reason)
        self.launch = launch
        self.port = free_port()
        self.mark = secrets.token_hex(8)
        # A short name in /tmp: Ray puts sockets into it, whose paths are limited to 107 characters.
        self._scratch = Path(tempfile.mkdtemp(prefix="bench-", dir="/tmp"))
        self.log = self._scratch / "server.log"
        self._process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        launch, peer = self.launch, self.launch.peer
        words: dict[str, Any] = {
            "python": environments.python_of(peer),
            "here": PEERS / peer.folder,
            "port": self.port,
            "model": launch.model.workload.name,
            "archive": launch.model.archive,
            "threads": launch.threads,
            "workers": launch.workers,
            "scratch": self._scratch,
        }
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "OMP_", "MKL_"))}
        variables = {
            **inherited,
            **{f"BENCHMARK_{name.upper()}": str(value) for name, value in words.items()},
            **{name: fill(words, value) for name, value in peer.variables.items()},
            **launch.variables,
            processes.MARK: self.mark,
            "PYTHONPATH": f"{HERE / 'shared'}:{PEERS / peer.folder}",
            "OMP_NUM_THREADS": str(launch.threads),
            "MKL_NUM_THREADS": str(launch.threads),
        }
        command = ["taskset", "-c", launch.cpus, *(fill(words, word) for word in peer.command)]
        with self.log.open("wb") as log:
            return subprocess.Popen(
                command,
                env=variables,
                cwd=self._scratch,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if peer.speaks_lines else log,
                stderr=log,
                start_new_session=True,
                text=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        processes.end(self.mark, _STOP_SECONDS)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def freeze(self) -> None:
        """Stop all its processes where they are, so that they take no time from others."""
        processes.send(self.mark, signal.SIGSTOP)

    def thaw(self) -> None:
        processes.send(self.mark, signal.SIGCONT)

    def cpu_seconds(self) -> float:
        return processes.cpu_seconds(self.mark)

    def footprint(self) -> processes.Footprint:
        return processes.footprint(self.mark)

    def alive(self) -> bool:
        return self._process.poll() is None

    def wait_until_ready(self) -> None:
        """Until every input is answered right, over each route. Raises `ServerError`, the end of its log included."""
        deadline = time.monotonic() + self.launch.peer.start_seconds
        if self.launch.peer.speaks_lines:
            self._read_line(self.launch.peer.start_seconds)
            return
        while not self._listens():
            self._check_alive(deadline, "does not listen")
            time.sleep(_POLL_SECONDS)
        while (problem := self._first_problem()) is not None:
            self._check_alive(deadline, problem)
            time.sleep(_POLL_SECONDS)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _first_problem(self) -> str | None:
        model = self.launch.model
        for route in self.launch.peer.routes():
            for row, expected in zip(model.inputs, model.outputs, strict=True):
                problem = ask(self.port, route, model.workload, row, expected)
                if problem:
                    return problem
        return None

    def _check_alive(self, deadline: float, problem: str) -> None:
        if not self.alive():
            raise ServerError(f"ended with exit code {self._process.returncode} while starting. {self._last_words()}")
        if time.monotonic() > deadline:
            seconds = self.launch.peer.start_seconds
            raise ServerError(f"is not ready after {seconds:.0f} s: {problem} {self._last_words()}")

    def _last_words(self) -> str:
        text = self.log.read_bytes()[-_LOG_BYTES:].decode(errors="replace")
        return " ".join(text.split())

    def measure(self, seconds: float) -> dict[int, tuple[float, float]]:
        """Of a floor that measures itself, for `seconds` each: batch size to rows per second and milliseconds."""
        stream = self._stream(self._process.stdin)
        stream.write(f"{seconds}\n")
        stream.flush()
        answer = json.loads(self._read_line(_MEASURE_SECONDS))
        return {int(rows): (found["rows_per_second"], found["milliseconds"]) for rows, found in answer.items()}

    def _read_line(self, seconds: float) -> str:
        stream = self._stream(self._process.stdout)
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            if not selector.select(seconds):
                raise ServerError(f"says nothing within {seconds:.0f} s. {self._last_words()}")
        line = stream.readline()
        if not line:
            raise ServerError(f"ended. {self._last_words()}")
        return line

    def _stream(self, stream: IO[str] | None) -> IO[str]:
        if stream is None:
            raise ServerError("does not speak lines")
        return stream


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
