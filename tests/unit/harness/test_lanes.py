"""Lanes side by side: what shares a cluster is not split, a failure anywhere fails the run, and nothing outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from tests.cluster import process
from tests.cluster.state import load_all
from tests.fixtures.waiting import WAIT_SECONDS, wait_until
from tests.lanes import piece_of

pytestmark = pytest.mark.unit

REPOSITORY: Final = Path(__file__).parents[3]
NOTE_LANE: Final = """
import os, pathlib, pytest
pytestmark = pytest.mark.{tier}
def test_notes_its_lane():
    pathlib.Path({note!r}).write_text(str(os.getpid()))
"""
FAILS: Final = """
import pytest
pytestmark = pytest.mark.api
def test_is_wrong():
    assert "what is" == "what should be"
"""
HOLDS_A_CLUSTER: Final = """
import os, time, pytest
from tests.cluster import process
from tests.cluster.state import ClusterState, Mode, cluster_directory
pytestmark = pytest.mark.e2e
def test_takes_long():
    state = ClusterState(name="trial", mode=Mode.CONTROL_PLANE, directory=cluster_directory("trial"))
    state.owner = process.identify(os.getpid())
    process.start(state, "etcd", ["sleep", "600"])
    state.ready = True
    state.save()
    time.sleep(600)
"""


def test_what_needs_a_node_is_one_piece_and_everything_else_goes_by_module() -> None:
    pieces = [
        piece_of(f"tests/{module}::test_it[a::b]", one_cluster=False)
        for module in ("e2e/test_a.py", "e2e/test_b.py", "api/test_a.py", "api/test_b.py", "unit/api/test_a.py")
    ]
    assert pieces == ["cluster", "cluster", "tests/api/test_a.py", "tests/api/test_b.py", "tests/unit/api/test_a.py"]


def test_every_lane_finds_the_same_tests() -> None:
    """Lanes refuse to start otherwise. The time of day, or a set's order, in a parameter makes names that differ."""
    command = [sys.executable, "-m", "pytest", "tests", "--collect-only", "-q", "-p", "no:cacheprovider"]
    found = [
        subprocess.run(
            command,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=True,
        ).stdout.splitlines()
        for seed in ("1", "2")
    ]
    first, second = ([line for line in lines if "::" in line] for lines in found)
    assert len(first) > 1000
    assert first == second


def test_all_that_needs_a_cluster_is_one_piece_when_there_is_only_one() -> None:
    modules = ("e2e/test_a.py", "api/test_a.py", "api/test_b.py", "unit/test_a.py")
    pieces = [piece_of(f"tests/{module}::test_it", one_cluster=True) for module in modules]
    assert pieces == ["cluster", "cluster", "cluster", "tests/unit/test_a.py"]


# Interrupts are ignored by what a shell has started in the background, and by all that this starts.
PYTEST: Final = """
import signal, sys, pytest
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(pytest.main(sys.argv[1:]))
"""


@contextmanager
def lanes(suite: Path, modules: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Two lanes over these modules, as `make test` runs its own, in a process group of their own."""
    for name, text in modules.items():
        path = suite / "tests" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (suite / "pytest.ini").write_text(
        "[pytest]\naddopts = --import-mode=importlib -ra\nmarkers =\n unit\n runtime\n api\n e2e\n"
    )
    plugins = ["-p", "tests.tiers", "-p", "tests.lanes", "-p", "no:cacheprovider"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "KUBECONFIG"))}
    with subprocess.Popen(
        [sys.executable, "-c", PYTEST, "-n", "2", *plugins, "tests"],
        cwd=suite,
        env=environment | {"PYTHONPATH": str(REPOSITORY), "SLIPWAY_CACHE": str(suite / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as run:
        try:
            yield run
        finally:
            with suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)


def test_a_failure_in_any_lane_fails_the_run_and_the_table_tells_of_every_tier(tmp_path: Path) -> None:
    notes = [tmp_path / name for name in ("first", "second")]
    modules = {
        "e2e/test_first.py": NOTE_LANE.format(tier="e2e", note=str(notes[0])),
        "e2e/test_second.py": NOTE_LANE.format(tier="e2e", note=str(notes[1])),
        "api/test_wrong.py": FAILS,
        "unit/test_quick.py": NOTE_LANE.format(tier="unit", note=str(tmp_path / "third")),
    }
    with lanes(tmp_path, modules) as run:
        text = run.communicate(timeout=2 * WAIT_SECONDS)[0]
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, text
    assert notes[0].read_text() == notes[1].read_text() != str(run.pid), "one lane for all that needs a node"
    table = dict(line.split(maxsplit=1) for line in text.partition(" tiers ")[2].splitlines() if " in " in line)
    assert (table["e2e"][:8], table["api"][:8], table["unit"][:8]) == ("2 passed", "1 failed", "1 passed"), text
    assert "what should be" in text
    summary = text.partition(" short test summary info ")[2]
    assert "FAILED tests/api/test_wrong.py::test_is_wrong" in summary


def test_an_interrupt_ends_every_lane_and_leaves_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_CACHE", str(tmp_path / "cache"))
    with lanes(tmp_path, {"e2e/test_long.py": HOLDS_A_CLUSTER}) as run:
        wait_until(lambda: any(state.ready for state in load_all()) or run.poll() is not None, "the test has a cluster")
        (state,) = load_all()
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does
        text = run.communicate(timeout=2 * WAIT_SECONDS)[0]
    assert run.returncode == pytest.ExitCode.INTERRUPTED, text
    assert state.owner is not None
    assert not process.is_alive(state.owner), "the lane has ended"
    assert not process.is_alive(state.processes["etcd"].identity)
    assert load_all() == []
