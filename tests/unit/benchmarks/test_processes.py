"""All processes of a server are found, weighed and ended, whatever they did to be on their own."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from benchmarks import processes
from benchmarks.machine import Placement, all_cores, one_core

pytestmark = pytest.mark.unit

FAMILY = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
time.sleep(60)
"""


@pytest.fixture
def mark() -> Iterator[str]:
    mark = secrets.token_hex(8)
    parent = subprocess.Popen([sys.executable, "-c", FAMILY], env={**os.environ, processes.MARK: mark})
    try:
        deadline = time.monotonic() + 30
        while len(processes.members(mark)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        yield mark
    finally:
        processes.end(mark, 0)
        parent.wait()


def test_a_process_cut_loose_is_found_and_ended_when_its_server_ends(mark: str) -> None:
    assert len(processes.members(mark)) == 2
    processes.end(mark, 10)
    assert processes.members(mark) == []


def test_a_page_counts_once_when_processes_share_it(mark: str) -> None:
    found = processes.footprint(mark)
    assert found.processes == 2
    # Both run the same interpreter: its text is in each one's resident size and once in the server's own.
    assert 1 << 20 < found.own_bytes < found.resident_bytes


def test_nobody_is_found_when_the_mark_is_another() -> None:
    assert processes.members(secrets.token_hex(8)) == []
    assert processes.footprint(secrets.token_hex(8)) == processes.Footprint(0, 0, 0)


def test_server_and_generator_are_apart_when_there_are_two_cores() -> None:
    assert str(one_core((2, 3))) == "server on 1 core, generator on another"
    assert str(one_core((5,))) == "server on 1 core, generator on the same"
    assert all_cores((0, 1)) == Placement((0, 1), (0, 1))
    assert one_core((2, 3)).server_list == "2"
