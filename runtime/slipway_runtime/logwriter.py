"""Log lines on their way to standard output: a thread writes them, so that a reader who stalls stops nobody."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

_MOST_WAITING: Final = 4096
_FLUSH_SECONDS: Final = 2.0


def write_out(data: bytes) -> None:
    """Whole lines under the buffer's own lock, so that they never mix with others'. Raises `OSError` or `ValueError`
    where nobody can read them."""
    if sys.stdout is not None:  # it was closed when the process began
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


class LineWriter(logging.Handler):
    """Lines that nobody takes wait in a bounded queue; those that find it full are counted, and told of later.

    `patience_seconds` is how long a caller waits for its own line to be out, so that the last words of a process that
    crashes are read. Once that was in vain nobody waits until all lines are out.
    """

    def __init__(self, write: Callable[[bytes], object] = write_out, patience_seconds: float = 0.0) -> None:
        super().__init__()
        self._write = write
        self._patience_seconds = patience_seconds
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._owner = os.getpid()
        self._changed = threading.Condition()
        self._lines: deque[bytes] = deque()
        self._left_out = 0
        self._stalled = False
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self._encode(record)
        except Exception:  # noqa: BLE001 - as every handler does: what cannot be formatted harms nobody else
            self.handleError(record)
            return
        if self._owner != os.getpid():
            self._begin_anew()  # a fork has no thread, and the lines that waited are its parent's
        with self._changed:
            if len(self._lines) >= _MOST_WAITING:
                self._left_out += 1
                return
            self._lines.append(line)
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
            if self._patience_seconds and not self._stalled:
                self._stalled = not self._changed.wait_for(self._all_out, self._patience_seconds)

    def flush(self) -> None:
        """For `_FLUSH_SECONDS` at most."""
        if self._thread is not None and self._owner == os.getpid():
            with self._changed:
                self._changed.wait_for(self._all_out, _FLUSH_SECONDS)

    def _all_out(self) -> bool:
        return not self._lines

    def _encode(self, record: logging.LogRecord) -> bytes:
        return (self.format(record) + "\n").encode(errors="backslashreplace")

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines)
                line, left_out = self._lines[0], self._left_out
                self._left_out = 0
            self._put(line)
            if left_out:
                text = "%d lines of the log were left out, because nobody took them"
                self._put(self._encode(logging.LogRecord(__name__, logging.WARNING, "", 0, text, (left_out,), None)))
            with self._changed:
                self._lines.popleft()
                self._stalled = self._stalled and bool(self._lines)
                self._changed.notify_all()

    def _put(self, line: bytes) -> None:
        try:
            self._write(line)
        except (OSError, ValueError):
            return  # nobody reads standard output any more; the work goes on all the same
