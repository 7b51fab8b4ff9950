"""A loopback HTTP server that answers from a script: stalls, breaks off, redirects, resumes."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""


@dataclass
class Connection:
    """What an answer is written to."""

    send: Callable[[bytes], None]
    wait: Callable[[float], None]
    """Seconds, cut short when the test is over."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.head(status, content_length=str(len(body)), **headers)
        self.send(body)

    def head(self, status: int, **headers: str) -> None:
        """`content_length` becomes Content-Length."""
        lines = [f"HTTP/1.1 {status} Status", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode())


Answer = Callable[[Request, Connection], None]


@dataclass
class ScriptedServer:
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    """One for each request in turn; the last one stays."""

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def next_answer(self, request: Request) -> Answer:
        self.requests.append(request)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def serve_script() -> Iterator[ScriptedServer]:
    script = ScriptedServer()
    over = threading.Event()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            request = _read_request(self.rfile)
            if request is None:
                return
            connection = Connection(self.wfile.write, lambda seconds: over.wait(seconds) and None)
            try:
                script.next_answer(request)(request, connection)
            except (BrokenPipeError, ConnectionResetError):
                return

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        script.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield script
        finally:
            over.set()
            server.shutdown()
            thread.join()


def _read_request(stream: Any) -> Request | None:
    line = stream.readline().decode()
    if not line.strip():
        return None
    method, path, _ = line.split(" ", 2)
    headers = {}
    while line := stream.readline().decode().strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return Request(method, path, headers)
