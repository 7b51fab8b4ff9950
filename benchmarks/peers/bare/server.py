"""The least that Python needs for HTTP: one asyncio protocol on uvloop that finds a request's end in constant time."""

from __future__ import annotations

import asyncio
import os

import uvloop
from answers import answer_to

_LENGTH = b"content-length: "


class Protocol(asyncio.Protocol):
    def __init__(self) -> None:
        self._pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._pending:
            data = self._pending + data
        while data:
            head = data.find(b"\r\n\r\n")
            if head < 0:
                break
            at = data.find(_LENGTH, 0, head)
            if at < 0:
                at = data.lower().find(_LENGTH, 0, head)
            size = 0
            if at >= 0:
                size = int(data[at + len(_LENGTH) : data.find(b"\r\n", at)])
            end = head + 4 + size
            if len(data) < end:
                break
            self._answer(data[head + 4 : end])
            data = data[end:]
        self._pending = data

    def _answer(self, body: bytes) -> None:
        answer = answer_to(body) if body else b"{}"
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(answer), answer)
        )


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Protocol, "127.0.0.1", int(os.environ["BENCHMARK_PORT"]))
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
