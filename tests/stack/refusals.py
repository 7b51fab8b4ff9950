"""An HTTP server that refuses, stalls and dawdles: faults that no real store can be told to make.

python tests/stack/refusals.py ADDRESS PORT
"""

from __future__ import annotations

import sys
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

SIZE_BYTES: Final = 64 * 1024**2
STALLED_AT_BYTES: Final = 3 * 256 * 1024
STALL_SECONDS: Final = 60
SLOW_SECONDS: Final = 60
_PIECES: Final = 120
_ETAG: Final = '"1"'


class Refusals(BaseHTTPRequestHandler):
    """`/401`, `/403`, `/404` and so on answer that status; `/stalled` and `/slow` begin a file of `SIZE_BYTES`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name = self.path.strip("/")
        if name == "stalled":
            self._stall()
        elif name == "slow":
            self._dawdle()
        else:
            status = int(name) if name.isdecimal() else HTTPStatus.NOT_FOUND
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _begin(self, start: int) -> None:
        self.send_response(HTTPStatus.PARTIAL_CONTENT if start else HTTPStatus.OK)
        self.send_header("Content-Length", str(SIZE_BYTES - start))
        self.send_header("ETag", _ETAG)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{SIZE_BYTES - 1}/{SIZE_BYTES}")
        self.end_headers()

    def _start(self) -> int:
        given = self.headers.get("Range", "bytes=0-")
        return int(given.removeprefix("bytes=").partition("-")[0])

    def _stall(self) -> None:
        """What is missing never comes, however often it is asked for."""
        start = self._start()
        self._begin(start)
        self.wfile.write(bytes(max(0, STALLED_AT_BYTES - start)))
        self.wfile.flush()
        time.sleep(STALL_SECONDS)
        self.close_connection = True

    def _dawdle(self) -> None:
        self._begin(0)
        for _ in range(_PIECES):
            self.wfile.write(bytes(SIZE_BYTES // _PIECES))
            time.sleep(SLOW_SECONDS / _PIECES)
        self.wfile.write(bytes(SIZE_BYTES % _PIECES))


if __name__ == "__main__":
    ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Refusals).serve_forever()
