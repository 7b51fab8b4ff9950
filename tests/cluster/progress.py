"""One line on standard error that says what is being waited for and for how long."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

TERMINAL_SECONDS: Final = 1.0
LOG_SECONDS: Final = 10.0


class Progress:
    """Several threads report their stage; one thread prints them all at a steady pace."""

    def __init__(self, title: str, first_stage: str = "") -> None:
        self._title = title
        self._began = time.monotonic()
        self._first_stage = first_stage
        self._stages: dict[str, str] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        # In a lane of tests the terminal's line belongs to the tests.
        self._terminal = sys.stderr.isatty() and "PYTEST_XDIST_WORKER" not in os.environ

    def stage(self, part: str, text: str) -> None:
        with self._lock:
            self._stages[part] = text
            self._first_stage = ""

    def drop(self, part: str) -> None:
        with self._lock:
            self._stages.pop(part, None)

    def done(self, part: str, text: str) -> None:
        with self._lock:
            self._stages.pop(part, None)
            self._write(f"{part}: {text}", final=True)

    def line(self) -> str:
        with self._lock:
            stages = "; ".join(f"{part}: {text}" for part, text in self._stages.items()) or self._first_stage
        return f"{self._title} [{duration(time.monotonic() - self._began)}] {stages}"

    def run(self) -> None:
        while not self._stop.wait(TERMINAL_SECONDS if self._terminal else LOG_SECONDS):
            self._write(self.line(), final=False)

    def finish(self) -> None:
        self._stop.set()
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _write(self, text: str, *, final: bool) -> None:
        if self._terminal:
            print(f"\r\x1b[K{text}", end="\n" if final else "", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)


@contextmanager
def progress(title: str, *, first_stage: str = "") -> Iterator[Progress]:
    """Quiet for what is over before the first line is due; `first_stage` is what it waits for until one is reported."""
    shown = Progress(title, first_stage)
    thread = threading.Thread(target=shown.run, daemon=True)
    thread.start()
    try:
        yield shown
    finally:
        shown.finish()
        thread.join()


def duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
