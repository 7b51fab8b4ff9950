"""Lines of the log, with readers that are slow, gone, or not there at all."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

import pytest

from slipway_runtime import logwriter
from slipway_runtime.logwriter import LineWriter

pytestmark = pytest.mark.unit


class Taken:
    """What was written; nothing is while `go_on` is not set."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.go_on = threading.Event()

    def write(self, line: bytes) -> None:
        self.go_on.wait(30)
        self.lines.append(line)


def say(writer: LineWriter, text: str) -> None:
    writer.handle(logging.LogRecord("test", logging.INFO, __file__, 1, text, None, None))


def test_lines_come_out_in_order_and_whole() -> None:
    taken = Taken()
    taken.go_on.set()
    writer = LineWriter(taken.write)
    for number in range(100):
        say(writer, f"line {number} ☃ \udcff")
    writer.flush()
    assert taken.lines == [f"line {number} ☃ ".encode() + b"\\udcff\n" for number in range(100)]


def test_nobody_waits_for_a_reader_who_stalls_and_what_was_left_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logwriter, "_MOST_WAITING", 3)
    taken = Taken()
    writer = LineWriter(taken.write)
    for number in range(10):
        say(writer, str(number))
    assert not taken.lines
    taken.go_on.set()
    writer.flush()
    say(writer, "later")
    writer.flush()
    assert [line for line in taken.lines if line[:1].isdigit() and b"left out" not in line] == [b"0\n", b"1\n", b"2\n"]
    told = [line.split(maxsplit=1) for line in taken.lines if b"left out" in line]
    assert sum(int(count) for count, _ in told) == 7
    assert {words for _, words in told} == {b"lines of the log were left out, because nobody took them\n"}
    assert b"later\n" in taken.lines


def test_the_last_words_before_a_crash_are_out_when_they_were_said() -> None:
    taken = Taken()
    taken.go_on.set()
    writer = LineWriter(taken.write, patience_seconds=30)
    say(writer, "the last words")
    assert taken.lines == [b"the last words\n"]


def test_patience_is_lost_once_and_not_for_every_line() -> None:
    taken = Taken()
    writer = LineWriter(taken.write, patience_seconds=0.01)
    waits: list[float | None] = []
    wait_for = writer._changed.wait_for

    def count(holds: Callable[[], bool], timeout: float | None = None) -> bool:
        waits.append(timeout)
        return bool(wait_for(holds, timeout))

    writer._changed.wait_for = count  # type: ignore[method-assign, assignment]
    for number in range(5):
        say(writer, str(number))
    assert waits.count(0.01) == 1
    taken.go_on.set()
    writer.flush()
    assert len(taken.lines) == 5


def test_a_reader_who_left_stops_nothing() -> None:
    def broken(line: bytes) -> None:
        raise BrokenPipeError

    writer = LineWriter(broken)
    for _ in range(3):
        say(writer, "nobody reads this")
    writer.flush()
    assert writer._all_out()


def test_a_forked_process_writes_lines_of_its_own() -> None:
    reading, writing = os.pipe()
    writer = LineWriter(lambda line: os.write(writing, line))
    say(writer, "parent")
    writer.flush()
    child = os.fork()
    if child == 0:
        say(writer, "child")
        writer.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"parent\nchild\n"
