"""A client that speaks HTTP/2 by hand: calls that begin a message and do not end it, which no library sends."""

from __future__ import annotations

import select
import socket
import struct
from contextlib import suppress
from typing import Any, Final, Self

_DATA, _HEADERS, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 4, 6, 7, 8
_ACK: Final = 1
_END_STREAM: Final = 1
_END_HEADERS: Final = 4
_INITIAL_WINDOW: Final = 4
_MOST_BYTES: Final = 16_384
MOST_STREAMS: Final = 3
"""A setting: calls that the server takes at a time."""
INFER: Final = "/inference.GRPCInferenceService/ModelInfer"


class RawClient:
    """One connection. Whatever the other side sends is read while this one waits for room to send."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=30)
        self._window, self._first_window = 65_535, 65_535
        self._windows: dict[int, int] = {}
        self._next = 1
        self.ended: set[int] = set()
        """Streams that the server has ended."""
        self.settings: dict[int, int] = {}
        """The server's, by number."""
        self.gone_away: bytes | None = None
        """What the server said when it gave the connection up."""
        self._socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self._send(_SETTINGS, 0, 0, b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Also wakes who waits in `read`."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def call(self, path: str = INFER) -> int:
        """Begins one; the number of its stream."""
        stream, self._next = self._next, self._next + 2
        self._windows[stream] = self._first_window
        fields = b"\x83\x86" + b"\x04" + _text(path) + b"\x01" + _text("localhost")
        fields += b"\x0f\x10" + _text("application/grpc") + b"\x00" + _text("te") + _text("trailers")
        self._send(_HEADERS, _END_HEADERS, stream, fields)
        return stream

    def send(self, stream: int, data: bytes) -> None:
        """As soon as the server takes it, or not at all where it ends the call before."""
        left = memoryview(data)
        while left and stream not in self.ended:
            room = min(self._window, self._windows[stream], _MOST_BYTES, len(left))
            if room <= 0 or select.select([self._socket], [], [], 0)[0]:
                self.read()
                continue
            self._send(_DATA, 0, stream, bytes(left[:room]))
            self._window -= room
            self._windows[stream] -= room
            left = left[room:]

    def ping(self) -> None:
        self._send(_PING, 0, 0, bytes(8))

    def read(self) -> None:
        """One frame. Raises `ConnectionError` where there is none any more."""
        length, kind, flags, stream = struct.unpack("!IBBI", b"\x00" + self._receive(9))
        payload = self._receive(length)
        if kind == _SETTINGS and not flags & _ACK:
            for place in range(0, length, 6):
                name, value = struct.unpack_from("!HI", payload, place)
                self.settings[name] = value
                if name == _INITIAL_WINDOW:
                    self._windows = {key: size + value - self._first_window for key, size in self._windows.items()}
                    self._first_window = value
            self._send(_SETTINGS, _ACK, 0, b"")
        elif kind == _PING and not flags & _ACK:
            self._send(_PING, _ACK, 0, payload)
        elif kind == _WINDOW_UPDATE:
            (more,) = struct.unpack("!I", payload)
            if stream:
                self._windows[stream] = self._windows.get(stream, 0) + more
            else:
                self._window += more
        elif kind == _GOAWAY:
            self.gone_away = payload[8:]
        elif kind == _HEADERS and flags & _END_STREAM:
            self.ended.add(stream)

    def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            if not more:
                raise ConnectionError("The server closed the connection.")
            data += more
        return data

    def _send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self._socket.sendall(struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload)


def beginning(claimed_bytes: int, sent_bytes: int) -> bytes:
    """The first part of a message that is said to have `claimed_bytes`."""
    return struct.pack("!BI", 0, claimed_bytes) + bytes(sent_bytes)


def _text(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()
