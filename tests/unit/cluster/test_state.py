"""A cluster's state survives being saved, and its lock excludes."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.cluster.errors import ClusterError
from tests.cluster.state import (
    ClusterState,
    Mode,
    ProcessIdentity,
    ProcessRecord,
    cache_directory,
    cluster_directory,
    cluster_lock,
    load,
    load_all,
)

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SLIPWAY_CACHE", str(tmp_path / "cache"))


def make_state(name: str = "trial") -> ClusterState:
    return ClusterState(name=name, mode=Mode.NODE, directory=cluster_directory(name))


def test_state_is_equal_when_loaded_again() -> None:
    state = make_state()
    state.ports = {"apiserver": 6443}
    state.details = {"gpus": {"node1": 2}}
    identity = ProcessIdentity(pid=1, start_ticks=2, boot_id="3")
    state.processes["etcd"] = ProcessRecord(identity=identity, argv=["etcd"], log=state.logs / "etcd.log", netns="n")
    state.save()
    assert load("trial") == state
    assert load_all() == [state]
    assert load("other") is None


def test_folder_is_closed_to_other_users() -> None:
    state = make_state()
    state.save()
    assert stat.S_IMODE(state.directory.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["", "../up", "a/b", "Upper", "-a", "a-", "a" * 31, "a b"])
def test_name_is_refused_when_it_could_leave_its_folder_or_break_a_label(name: str) -> None:
    with pytest.raises(ClusterError, match="expected lower-case letters"):
        cluster_directory(name)


def test_damaged_state_is_named_with_what_to_do() -> None:
    state = make_state()
    state.save()
    (state.directory / "state.json").write_text('{"name": 1}')
    with pytest.raises(ClusterError, match=r"state\.json is damaged .* delete the folder"):
        load("trial")


def test_tags_differ_when_two_caches_hold_a_cluster_of_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    first = make_state().tag
    monkeypatch.setenv("SLIPWAY_CACHE", "/elsewhere")
    assert make_state().tag != first


def test_cache_lies_in_the_home_folder_when_nothing_moves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLIPWAY_CACHE")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_directory() == Path("/home/someone/.cache/slipway")


def test_second_holder_is_told_who_holds_the_lock() -> None:
    holder = f"in the hands of pid {os.getpid()} "
    with cluster_lock("trial"), pytest.raises(ClusterError, match=holder), cluster_lock("trial", wait_seconds=0):
        pass


def test_lock_is_free_again_when_its_holder_died() -> None:
    lock = cluster_directory("trial").with_suffix(".lock")
    lock.parent.mkdir(parents=True)
    command = ["flock", "--close", str(lock), "sh", "-c", "echo held; exec sleep 1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ClusterError, match="wait for it"), cluster_lock("trial", wait_seconds=0):
            pass
        holder.kill()
        holder.wait()
        with cluster_lock("trial", wait_seconds=0):
            pass


def test_lock_file_goes_with_the_cluster() -> None:
    state = make_state()
    lock = state.directory.with_suffix(".lock")
    with cluster_lock("trial"):
        state.save()
    assert lock.exists()
    with cluster_lock("trial"):
        (state.directory / "state.json").unlink()
        state.directory.rmdir()
    assert not lock.exists()
