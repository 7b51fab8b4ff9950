"""Only a process that is provably the cluster's own is ever signalled."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import lifecycle, process
from tests.cluster.errors import ClusterError
from tests.cluster.state import ClusterState, Mode, ProcessRecord, cluster_directory, load

pytestmark = pytest.mark.unit

STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.05; done"


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ClusterState]:
    monkeypatch.setenv("SLIPWAY_CACHE", str(tmp_path))
    state = ClusterState(name="trial", mode=Mode.CONTROL_PLANE, directory=cluster_directory("trial"))
    state.save()
    yield state
    process.stop_all(state, timeout_seconds=0.1)


def wait_for_log(state: ClusterState, name: str, text: str) -> None:
    process.wait_until(
        state,
        lambda: text in (state.logs / f"{name}.log").read_text(),
        what=f"{name} says {text}",
        needs=[name],
        timeout_seconds=60,
        interval_seconds=0.02,
    )


def test_process_is_recorded_before_anything_else_happens(state: ClusterState) -> None:
    record = process.start(state, "sleeper", ["sleep", "60"])
    saved = load("trial")
    assert saved is not None
    assert saved.processes == {"sleeper": record}
    assert process.is_running(saved, "sleeper")


def test_process_outlives_its_terminal(state: ClusterState) -> None:
    record = process.start(state, "sleeper", ["sleep", "60"])
    assert os.getsid(record.identity.pid) == record.identity.pid != os.getsid(0)


def test_recycled_pid_is_not_killed(state: ClusterState) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        identity = process.identify(stranger.pid)
        assert identity is not None
        earlier = identity.model_copy(update={"start_ticks": identity.start_ticks - 1})
        state.processes["gone"] = ProcessRecord(identity=earlier, argv=["etcd"], log=state.logs / "gone.log")
        assert not process.is_running(state, "gone")
        process.stop(state, "gone")
        assert stranger.poll() is None
        assert "gone" not in state.processes
        stranger.kill()


def test_pid_of_an_earlier_boot_is_not_killed(state: ClusterState) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        identity = process.identify(stranger.pid)
        assert identity is not None
        process.end(identity.model_copy(update={"boot_id": "another"}), timeout_seconds=0.1)
        assert stranger.poll() is None
        stranger.kill()


def test_process_is_killed_when_it_ignores_the_request(state: ClusterState) -> None:
    record = process.start(state, "stubborn", ["sh", "-c", STUBBORN])
    wait_for_log(state, "stubborn", "ready")
    process.stop(state, "stubborn", timeout_seconds=0.2)
    assert not process.is_alive(record.identity)


def test_processes_end_in_the_reverse_of_their_starting_order(state: ClusterState) -> None:
    said = state.directory / "order"
    for name in ("etcd", "kube-apiserver"):
        script = f"trap 'echo {name} >> {said}; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
        process.start(state, name, ["sh", "-c", script])
        wait_for_log(state, name, "ready")
    process.stop_all(state)
    assert said.read_text().split() == ["kube-apiserver", "etcd"]
    assert state.processes == {}


def test_process_whose_start_was_never_recorded_is_found_and_ended(state: ClusterState) -> None:
    environment = {**os.environ, process.MARKER: str(state.directory)}
    with subprocess.Popen(["sleep", "60"], env=environment) as lost:
        (found,) = process.strays(state.directory)
        assert found.pid == lost.pid
        assert process.strays(Path(f"{state.directory}-2")) == []
        process.stop_all(state, timeout_seconds=60)
        assert lost.wait(60) == -15


def test_waiting_shows_the_last_log_lines_when_a_process_dies(state: ClusterState) -> None:
    process.start(state, "etcd", ["sh", "-c", "sleep 0.1; echo 'no space left on device' >&2; exit 3"])
    with pytest.raises(ClusterError, match="etcd ended while waiting until it answers") as raised:
        process.wait_until(state, lambda: False, what="it answers", needs=["etcd"], timeout_seconds=10)
    assert "no space left on device" in str(raised.value)
    assert str(state.logs / "etcd.log") in str(raised.value)


def test_waiting_ends_when_the_time_is_over(state: ClusterState) -> None:
    process.start(state, "etcd", ["sh", "-c", "echo starting; sleep 60"])
    wait_for_log(state, "etcd", "starting")
    with pytest.raises(ClusterError, match="not within 0 s") as raised:
        process.wait_until(state, lambda: False, what="it answers", needs=["etcd"], timeout_seconds=0.1)
    assert "starting" in str(raised.value)


def test_start_is_refused_while_a_process_of_that_name_runs(state: ClusterState) -> None:
    process.start(state, "etcd", ["sleep", "60"])
    with pytest.raises(ClusterError, match="etcd already runs"):
        process.start(state, "etcd", ["sleep", "60"])


def test_proxies_are_not_passed_on(state: ClusterState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    process.start(state, "env", ["sh", "-c", "env; echo end; sleep 60"], env={"ADDED": "1"})
    wait_for_log(state, "env", "end")
    text = (state.logs / "env.log").read_text()
    assert "proxy.invalid" not in text
    assert "ADDED=1" in text


def test_cluster_is_abandoned_and_cleaned_when_its_owner_was_killed(state: ClusterState) -> None:
    script = (
        "import os, signal, sys; from tests.cluster import process; from tests.cluster.state import load\n"
        "state = load('trial'); state.owner = process.identify(os.getpid()); state.save()\n"
        "process.start(state, 'etcd', ['sleep', '60']); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[3])
    left = load("trial")
    assert left is not None
    assert process.is_running(left, "etcd")
    assert lifecycle.clean_abandoned() == ["trial"]
    assert not process.is_alive(left.processes["etcd"].identity)
    assert not left.directory.exists()


def test_cluster_is_left_alone_while_its_owner_lives_or_when_it_has_none(state: ClusterState) -> None:
    process.start(state, "etcd", ["sleep", "60"])
    assert lifecycle.clean_abandoned() == []
    state.owner = process.identify(os.getpid())
    state.save()
    assert lifecycle.clean_abandoned() == []
    assert process.is_running(state, "etcd")


def test_zombie_counts_as_ended() -> None:
    with subprocess.Popen(["true"]) as child:
        deadline = time.monotonic() + 10
        while process.identify(child.pid) is not None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert Path(f"/proc/{child.pid}").exists()
