"""The HTTP server on a loop of its own thread, asked over raw sockets."""

from __future__ import annotations

import asyncio
import json
import queue
import socket
import ssl
import threading
import time
from asyncio import Runner
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import uvloop

from slipway_runtime.http.asgi import Receive, Scope, Send
from slipway_runtime.http.exchange import Reply, Request
from slipway_runtime.http.rules import Rules
from slipway_runtime.http.server import HttpServer
from slipway_runtime.http.wire import send_error
from slipway_runtime.protocol.errors import ApiError

T = TypeVar("T")
PATIENCE_SECONDS = 10


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        assert self.headers["content-type"] == "application/json"
        assert self.json["request_id"] == self.headers["x-request-id"]
        return str(self.json["code"])


class Client:
    """One connection, byte by byte. `address` or the port of loopback."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, *pieces: bytes) -> Self:
        for piece in pieces:
            self.socket.sendall(piece)
        return self

    def post(self, path: str, body: bytes = b"", *headers: str) -> Self:
        return self.send(post(path, body, *headers))

    def end(self) -> Self:
        """No more bytes from this side; it still reads."""
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def answer(self, *, head_only: bool = False) -> Answer:
        """The next final answer. Interim ones are skipped, as clients do."""
        while True:
            head = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
            status = int(head[0].split(" ")[1])
            if status >= 200:
                break
        headers = {}
        for line in head[1:-2]:
            name, _, value = line.partition(": ")
            assert name.lower() not in headers, f"{name} twice"
            headers[name.lower()] = value
        return Answer(status, headers, b"" if head_only else self._body(headers))

    def interim(self) -> bytes:
        return self._until(b"\r\n\r\n")

    def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        while self._receive():
            pass
        rest, self._rest = self._rest, b""
        return rest

    def is_closed(self) -> bool:
        """Waits for the end of the connection, and for nothing before it."""
        return self.rest() == b""

    def is_silent(self, seconds: float = 0.1) -> bool:
        self.socket.settimeout(seconds)
        try:
            return not self._rest and not self._receive() and False
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(PATIENCE_SECONDS)

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            parts = []
            while size := int(self._until(b"\r\n"), 16):
                parts.append(self._exactly(size))
                assert self._exactly(2) == b"\r\n"
            assert self._exactly(2) == b"\r\n"
            return b"".join(parts)
        if "content-length" in headers:
            return self._exactly(int(headers["content-length"]))
        return self.rest()

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._rest:
            assert self._receive(), f"the connection ended after {self._rest!r}"
        end = self._rest.index(mark) + len(mark)
        taken, self._rest = self._rest[:end], self._rest[end:]
        return taken

    def _exactly(self, size: int) -> bytes:
        while len(self._rest) < size:
            assert self._receive(), f"the connection ended after {len(self._rest)} of {size} bytes"
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def _receive(self) -> bool:
        data = self.socket.recv(65536)
        self._rest += data
        return bool(data)


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def post(path: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: test", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def get(path: str, *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: test", *headers]).encode("latin-1") + b"\r\n\r\n"


@dataclass
class Held:
    """A request whose answer the test gives."""

    loop: asyncio.AbstractEventLoop
    request: Request
    reply: Reply
    left: threading.Event = field(default_factory=threading.Event)

    def answer(self, body: bytes = b"held") -> None:
        self.loop.call_soon_threadsafe(self.reply.send, 200, b"text/plain", [body])


class HttpLoop:
    """POST /echo answers with the body, /hold when the test says, /size with as many bytes as the body says, /inflate
    charges them, /block holds the loop up for as many seconds, /fail raises. Everything else is ASGI: /stream in three
    parts, /boom raises, /wait never answers; else what came."""

    def __init__(self, rules: Rules | None = None, **options: Any) -> None:
        self.held: queue.Queue[Held] = queue.Queue()
        self.gone = threading.Event()
        """An application was told that its client left."""
        self._rules = rules or Rules("m", 1024 * 1024, 30)
        self._options = options
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._started: Future[HttpServer] = Future()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.server = self._started.result(PATIENCE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._thread.is_alive():
            self.call(self.server.cut)
        assert self.has_ended()

    def client(self, context: ssl.SSLContext | None = None) -> Client:
        return Client(self.port, context)

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """In the loop's thread."""
        done: Future[T] = Future()
        self.server.loop.call_soon_threadsafe(lambda: done.set_result(function(*arguments)))
        return done.result(PATIENCE_SECONDS)

    def next_held(self) -> Held:
        return self.held.get(timeout=PATIENCE_SECONDS)

    def has_ended(self) -> bool:
        self._thread.join(PATIENCE_SECONDS)
        return not self._thread.is_alive()

    def _run(self) -> None:
        async def serve() -> None:
            server = HttpServer(self._app, self._rules, **self._options)
            routes = {b"/echo": _echo, b"/hold": self._hold, b"/size": _size, b"/inflate": _inflate, b"/fail": _fail}
            server.routes = {**routes, b"/block": _block}
            asyncio.get_running_loop().call_soon(self._started.set_result, server)
            await server.serve(self._listening)

        with Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())

    def _hold(self, request: Request, reply: Reply) -> None:
        held = Held(self.server.loop, request, reply)
        reply.on_disconnect = held.left.set
        self.held.put(held)

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        if scope["path"] == "/boom":
            raise ValueError("boom")
        if scope["path"] == "/wait":
            try:
                await receive()
            finally:
                self.gone.set()
            return
        if scope["path"] == "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
            for part in (b"one ", b"two ", b"three"):
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body"})
            return
        seen = {key: scope[key] for key in ("method", "path", "http_version", "scheme")}
        seen |= {"query": scope["query_string"].decode(), "body": len(message["body"])}
        body = json.dumps(seen).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _block(request: Request, reply: Reply) -> None:
    time.sleep(float(request.body))
    reply.send(200, b"text/plain", [b""])


def _echo(request: Request, reply: Reply) -> None:
    reply.send(200, b"application/octet-stream", [request.body])


def _inflate(request: Request, reply: Reply) -> None:
    """Charged with as many bytes more as the body says."""
    try:
        reply.charge(int(bytes(request.body)))
    except ApiError as error:
        send_error(reply, error, request_id=request.request_id, model="m")
        return
    reply.send(200, b"text/plain", [b"charged"])


def _size(request: Request, reply: Reply) -> None:
    reply.send(200, b"application/octet-stream", [bytes(int(bytes(request.body) or b"0"))])


def _fail(request: Request, reply: Reply) -> None:
    raise ValueError("a fault of the handler")
