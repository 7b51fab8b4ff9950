"""Steps on a terminal: what runs, for how long, and a table of times at the end."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TextIO

TICK_SECONDS: Final = 2.0
QUIET_TICKS: Final = 15
"""A log file gets a line every half minute only; a terminal's line is written over."""


@dataclass
class Steps:
    """Names and durations of the steps so far."""

    total: int
    out: TextIO = sys.stdout
    durations_seconds: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def step(self, name: str, *, ticks: bool = True) -> Iterator[None]:
        """Run one step; a failing step is named before the error passes on. Without `ticks` it shows its own."""
        number = len(self.durations_seconds) + 1
        head = f"[{number}/{self.total}] {name}"
        started = time.monotonic()
        finished = threading.Event()
        self._say(f"{head} …")
        ticker = threading.Thread(target=self._tick, args=(head, started, finished), daemon=True)
        if ticks:
            ticker.start()
        try:
            yield
        except BaseException:
            _stop(ticker, finished)
            self._say(f"{head}: failed after {time.monotonic() - started:.0f} s")
            raise
        _stop(ticker, finished)
        seconds = time.monotonic() - started
        self.durations_seconds.append((name, seconds))
        self._say(f"{head}: done in {seconds:.1f} s")

    def table(self) -> str:
        """One line a step, and their sum."""
        width = max(len(name) for name, _ in self.durations_seconds)
        lines = [f"  {name:<{width}}  {seconds:7.1f} s" for name, seconds in self.durations_seconds]
        total = sum(seconds for _, seconds in self.durations_seconds)
        return "\n".join([*lines, f"  {'total':<{width}}  {total:7.1f} s"])

    def _tick(self, head: str, started: float, finished: threading.Event) -> None:
        ticks = 0
        while not finished.wait(TICK_SECONDS):
            ticks += 1
            text = f"{head} … {time.monotonic() - started:.0f} s"
            if self.out.isatty():
                print(f"\r\033[2K{text}", end="\r", file=self.out, flush=True)
            elif ticks % QUIET_TICKS == 0:
                self._say(text)

    def _say(self, text: str) -> None:
        clear = "\r\033[2K" if self.out.isatty() else ""
        print(f"{clear}{text}", file=self.out, flush=True)


def _stop(ticker: threading.Thread, finished: threading.Event) -> None:
    finished.set()
    if ticker.is_alive():
        ticker.join()
