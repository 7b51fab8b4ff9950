"""HTTP/1.1 over raw streams: a client that can say anything, and reads one answer strictly."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

_LIMIT_BYTES: Final = 1 << 20
"""Of one line or head of an answer."""
_KEEP_SECONDS: Final = 60.0
"""Half of what the runtime keeps an idle connection: as every client with a pool does, this one closes first."""


class ProtocolError(Exception):
    """What came is no answer: the connection ended early, or the bytes are no HTTP."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def ends(self) -> bool:
        """The connection cannot be used again."""
        return self.headers.get("connection", "").lower() == "close"


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.used_at = 0.0
        """By the monotonic clock, when its last answer was here."""

    async def send(self, data: bytes) -> None:
        """A server that refuses may stop reading before all is sent; its answer is still there to be read."""
        with suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def read_answer(self, pause_seconds: float = 0.0) -> Answer:
        """The next final answer. With a pause after every 4 KiB where one is given."""
        try:
            while True:
                answer = await self._read_one(pause_seconds)
                if answer.status >= 200:
                    return answer
        except asyncio.IncompleteReadError as error:
            raise ProtocolError(f"the connection ended after {error.partial[:80]!r}") from None
        except (ConnectionError, ValueError) as error:
            raise ProtocolError(f"{type(error).__name__}: {error}") from None

    async def _read_one(self, pause_seconds: float) -> Answer:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip("\r\n").split("\r\n")
        version, status, *_ = first.split(" ", 2)
        if not version.startswith("HTTP/1."):
            raise ValueError(f"not HTTP: {first!r}")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        if int(status) < 200:
            return Answer(int(status), headers, b"")
        body = bytearray()
        if headers.get("transfer-encoding") == "chunked":
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                body += await self.reader.readexactly(size)
                await self.reader.readexactly(2)
            await self.reader.readexactly(2)
            return Answer(int(status), headers, bytes(body))
        left = int(headers["content-length"]) if "content-length" in headers else 0
        while left:
            body += await self.reader.readexactly(min(left, 4096 if pause_seconds else left))
            left = int(headers["content-length"]) - len(body)
            if pause_seconds:
                await asyncio.sleep(pause_seconds)
        return Answer(int(status), headers, bytes(body))

    def abort(self) -> None:
        """A reset where the system allows it, as of a client that is killed."""
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


class Server:
    """Connections to one address, new or kept."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._kept: list[Connection] = []

    async def connect(self, receive_bytes: int | None = None) -> Connection:
        """`receive_bytes` makes the kernel's buffer small, so that a slow reader is one for the server too."""
        connected = socket.socket()
        connected.setblocking(False)
        if receive_bytes:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        try:
            await asyncio.get_running_loop().sock_connect(connected, (self.host, self.port))
        except BaseException:
            connected.close()
            raise
        return Connection(*await asyncio.open_connection(sock=connected, limit=_LIMIT_BYTES))

    @asynccontextmanager
    async def fresh(self, receive_bytes: int | None = None) -> AsyncIterator[Connection]:
        """Closed at the end, whatever came."""
        connection = await self.connect(receive_bytes)
        try:
            yield connection
        except BaseException:
            connection.abort()
            raise
        finally:
            await connection.close()

    async def ask(self, request: bytes) -> Answer:
        """On a kept connection, which is kept on where the server allows it."""
        connection = await self._kept_one() or await self.connect()
        try:
            await connection.send(request)
            answer = await connection.read_answer()
        except BaseException:
            connection.abort()
            raise
        if answer.ends:
            await connection.close()
        else:
            connection.used_at = time.monotonic()
            self._kept.append(connection)
        return answer

    async def _kept_one(self) -> Connection | None:
        """The one that was used last. A burst leaves many, of which most are not needed again for a long time."""
        if not self._kept:
            return None
        connection = self._kept.pop()
        if time.monotonic() - connection.used_at < _KEEP_SECONDS:
            return connection
        await connection.close()  # all below it have been idle for longer
        await self.close()
        return None

    async def close(self) -> None:
        while self._kept:
            await self._kept.pop().close()
