"""One JSON line per request, within a rate, written by a thread so that a slow reader of the log stops nobody."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from threading import Event, Thread
from typing import Any, Final

import orjson

from slipway_runtime.contract import AccessLogConfig
from slipway_runtime.logs import utc
from slipway_runtime.telemetry.record import RequestRecord

_WRITE_SECONDS: Final = 0.05
"""Lines are written together this often, so that a burst of them wakes the thread once."""
_REPORT_SECONDS: Final = 1.0
_MOST_WAITING: Final = 4096
_LONGEST_TEXT: Final = 256

log = logging.getLogger(__name__)

Write = Callable[[bytes], object]


class TokenBucket:
    """Lets `rate` a second pass, and as many at once."""

    __slots__ = ("_filled_at", "_rate", "_tokens")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._tokens = float(rate)
        self._filled_at = now

    def take(self, now: float) -> bool:
        tokens = self._tokens + (now - self._filled_at) * self._rate
        if tokens > self._rate:
            tokens = self._rate
        self._filled_at = now
        if tokens < 1.0:
            self._tokens = tokens
            return False
        self._tokens = tokens - 1.0
        return True


class AccessLog:
    """`offer` belongs to the loop's thread. The server's faults are always written; the others share two buckets, one
    for what went well and one for what clients did, so that neither hides the other."""

    def __init__(self, config: AccessLogConfig, write: Write, *, json: bool = True) -> None:
        now = time.perf_counter()
        self._good = TokenBucket(config.max_lines_per_second, now)
        self._bad = TokenBucket(config.max_lines_per_second, now)
        self._write = write
        self._format = format_json if json else format_text
        self._json = json
        self._lines: deque[tuple[float, RequestRecord]] = deque()
        self._tally: dict[str, int] = {}
        """Left out by kind, since the start; what was reported is the writer's to remember."""
        self._wanted = Event()
        self._asleep = True
        self._closed = False
        self._thread = Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def offer(self, record: RequestRecord, now: float) -> None:
        """`now` is `time.perf_counter()`."""
        status = record.status
        if not _is_fault(record):
            if status == 429:
                key = f"429 {record.code}"
                self._tally[key] = self._tally.get(key, 0) + 1
            if not (self._good if status < 400 else self._bad).take(now):
                self._leave_out()
                return
        if len(self._lines) >= _MOST_WAITING:
            self._leave_out()
            return
        self._lines.append((time.time(), record))
        self._wake()

    def offer_all(self, count: int, record: Callable[[int], RequestRecord], now: float) -> None:
        """As `offer`, for requests that went well. Only the records that are written are asked for."""
        for position in range(count):
            if len(self._lines) >= _MOST_WAITING or not self._good.take(now):
                self._leave_out(count - position)
                return
            self._lines.append((time.time(), record(position)))
        self._wake()

    def _leave_out(self, lines: int = 1) -> None:
        self._tally["left_out"] = self._tally.get("left_out", 0) + lines
        self._wake()

    def _wake(self) -> None:
        # A plain attribute first: setting an event takes a lock that most requests need not ask for.
        if self._asleep:
            self._asleep = False
            self._wanted.set()

    def close(self, seconds: float) -> None:
        """Writes what waits, for `seconds` at most."""
        self._closed = True
        self._wanted.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        reported: dict[str, int] = {}
        reported_at = time.perf_counter()
        while True:
            self._wanted.wait()
            if not self._closed:
                time.sleep(_WRITE_SECONDS)
            self._write_lines()
            now = time.perf_counter()
            tally = self._tally.copy()
            if tally != reported and (self._closed or now - reported_at >= _REPORT_SECONDS):
                self._report({key: count - reported.get(key, 0) for key, count in tally.items()}, now - reported_at)
                reported, reported_at = tally, now
            if self._closed:
                return
            if tally == reported:
                self._wanted.clear()
                self._asleep = True
                # Whoever came between the look and the flag saw it down and did not wake us.
                if self._lines or self._tally != reported:
                    self._asleep = False
                    self._wanted.set()

    def _write_lines(self) -> None:
        lines = []
        while self._lines:
            lines.append(self._format(*self._lines.popleft()))
        if lines:
            self._put(b"".join(lines))

    def _report(self, counts: dict[str, int], seconds: float) -> None:
        counts = {key: count for key, count in counts.items() if count}
        left_out = counts.pop("left_out", 0)
        rejected = {key.partition(" ")[2]: count for key, count in counts.items()}
        parts = [f"{left_out} lines were left out"] if left_out else []
        parts += [f"{count} requests were answered 429 ({code})" for code, count in rejected.items()]
        message = "; ".join(parts)
        if self._json:
            line = _head(time.time(), message) | {"left_out": left_out, "rejected": rejected}
            self._put(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        else:
            self._put(f"{utc(time.time())[11:19]} INFO    {message}\n".encode())

    def _put(self, data: bytes) -> None:
        try:
            self._write(data)
        except (OSError, ValueError):
            # Nobody reads standard output any more; requests are answered all the same.
            self._lines.clear()


def format_json(written_at: float, record: RequestRecord) -> bytes:
    """`written_at` is Unix time. What does not apply is left out."""
    line = _head(written_at, _message(record), _level(record))
    line.update(_fields(record))
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def format_text(written_at: float, record: RequestRecord) -> bytes:
    milliseconds = record.total_seconds * 1e3
    head = f"{utc(written_at)[11:19]} {_level(record):<7}"
    return f"{head} {_message(record)} in {milliseconds:.1f} ms, {record.request_id}\n".encode()


def _message(record: RequestRecord) -> str:
    reason = "" if record.code == "ok" else f" {record.code}"
    return f"{_clean(record.method)} {_clean(record.path)} {record.status}{reason}"


def _is_fault(record: RequestRecord) -> bool:
    """Not what a client can bring about as often as it likes: by a route that is not there, by its own timeout."""
    status = record.status
    return status >= 500 and status != 501 and not (status == 504 and record.timeout_seconds is not None)


def _level(record: RequestRecord) -> str:
    return "WARNING" if _is_fault(record) else "INFO"


def _head(now: float, message: str, level: str = "INFO") -> dict[str, Any]:
    return {"time": utc(now), "level": level, "logger": "slipway_runtime.access", "message": message}


def _fields(record: RequestRecord) -> Iterator[tuple[str, Any]]:
    yield "protocol", record.protocol
    yield "method", _clean(record.method)
    yield "path", _clean(record.path)
    yield "status", record.status
    yield "code", record.code
    for name in ("request_id", "client", "trace_id", "parent_span_id", "span_id", "worker"):
        text = getattr(record, name)
        if text:
            yield name, _clean(text)
    yield "bytes_in", record.bytes_in
    yield "bytes_out", record.bytes_out
    for name in ("rows", "batch_rows"):
        if count := getattr(record, name):
            yield name, count
    for stage in ("read", "decode", "queue", "compute", "encode", "total"):
        if seconds := getattr(record, f"{stage}_seconds"):
            yield f"{stage}_seconds", round(seconds, 6)


def _clean(text: str) -> str:
    """Short, and without what UTF-8 cannot say or a terminal would obey."""
    short = text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
    return short if short.isprintable() else "".join(c if c.isprintable() else "�" for c in short)
