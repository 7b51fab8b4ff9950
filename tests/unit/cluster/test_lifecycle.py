"""A cluster comes up whole or not at all, and a cluster that was not started here is never touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.cluster import components, process
from tests.cluster.__main__ import main
from tests.cluster.errors import ClusterError
from tests.cluster.lifecycle import Cluster, kept_logs
from tests.cluster.state import ClusterState, Mode, cluster_directory, load, load_all

pytestmark = pytest.mark.unit

KUBECTL = """#!/bin/sh
case "$*" in *forbidden*) echo "Error from server (Forbidden): not yours" >&2; exit 1 ;; esac
echo "$KUBECONFIG $NO_PROXY $*"
cat
"""


@pytest.fixture(autouse=True)
def assets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Stand-ins for the programs: etcd runs, the API server ends at once, kubectl repeats what it is told."""
    folder = tmp_path / "assets"
    folder.mkdir()
    programs = dict.fromkeys(components.CONTROL_PLANE, "#!/bin/sh\nexec sleep 60\n")
    programs["kube-apiserver"] = "#!/bin/sh\necho 'unknown flag: --nonsense' >&2\nexit 1\n"
    programs["kubectl"] = KUBECTL
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(folder))
    monkeypatch.setenv("SLIPWAY_CACHE", str(tmp_path / "cache"))
    for name in ("KUBECONFIG", "SLIPWAY_REGISTRY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def kubeconfig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "kubeconfig"
    path.write_text("{}")
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


def running(name: str = "trial") -> ClusterState:
    """A saved state that counts as up: it has no processes that could have ended."""
    state = ClusterState(name=name, mode=Mode.CONTROL_PLANE, directory=cluster_directory(name), ready=True)
    state.ports = {"apiserver": 1}
    state.save()
    state.kubeconfig.write_text("{}")
    return state


def test_nothing_is_left_but_the_logs_when_a_part_ends_during_up() -> None:
    with pytest.raises(ClusterError, match="kube-apiserver ended") as raised:
        Cluster.up("trial")
    assert "unknown flag: --nonsense" in str(raised.value)
    assert load("trial") is None
    assert process.strays(cluster_directory("trial")) == []
    assert "unknown flag" in (kept_logs("trial") / "kube-apiserver.log").read_text()


def test_kept_logs_go_with_the_next_down() -> None:
    with pytest.raises(ClusterError):
        Cluster.up("trial")
    answer = CliRunner().invoke(main, ["down", "--all"])
    assert (answer.exit_code, answer.output) == (0, "Nothing was running.\n")
    assert not kept_logs("trial").exists()


def test_error_is_one_message_with_code_2_when_up_fails_on_the_command_line() -> None:
    answer = CliRunner().invoke(main, ["up", "--name", "trial"])
    assert answer.exit_code == 2
    assert "Error: cluster trial: kube-apiserver ended" in answer.output
    assert "Traceback" not in answer.output


def test_nothing_is_started_when_kubeconfig_is_set(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_REGISTRY", "registry.example.com/team")
    cluster = Cluster.up("trial", mode="node")
    assert (cluster.kubeconfig, cluster.registry, cluster.state) == (kubeconfig, "registry.example.com/team", None)
    cluster.down()
    assert load_all() == []


def test_missing_file_is_named_when_kubeconfig_points_to_none(kubeconfig: Path) -> None:
    kubeconfig.unlink()
    with pytest.raises(ClusterError, match=f"KUBECONFIG={kubeconfig}: no such file"):
        Cluster.up("trial")


def test_local_cluster_is_recognized_when_kubeconfig_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    state = running()
    monkeypatch.setenv("KUBECONFIG", str(state.kubeconfig))
    assert Cluster.up("another").state == state


def test_running_cluster_is_found_when_up_is_typed_again() -> None:
    state = running()
    assert Cluster.up("trial").state == state
    with pytest.raises(ClusterError, match="asked for mode control-plane, 2 node"):
        Cluster.up("trial", nodes=2)


def test_kubectl_talks_to_the_cluster_and_to_no_proxy() -> None:
    state = running()
    cluster = Cluster.of(state)
    assert cluster.kubectl("apply", stdin="text").startswith(f"{state.kubeconfig} 127.0.0.1 ")
    assert cluster.kubectl("apply", stdin="text").endswith("apply\ntext")


def test_kubectls_own_words_are_the_error(kubeconfig: Path) -> None:
    with pytest.raises(ClusterError, match=r"kubectl get forbidden: Error from server \(Forbidden\): not yours"):
        Cluster.up().kubectl("get", "forbidden")


def test_shell_gets_what_it_needs_to_talk_to_the_cluster() -> None:
    state = running()
    answer = CliRunner().invoke(main, ["env", "--name", "trial"])
    assert f"export KUBECONFIG={state.kubeconfig}\n" in answer.output
    assert f'export PATH={state.directory / "bin"}:"$PATH"\n' in answer.output


def test_way_to_start_is_named_when_the_cluster_does_not_run() -> None:
    answer = CliRunner().invoke(main, ["env", "--name", "absent"])
    assert answer.exit_code == 2
    assert "python -m tests.cluster up --name absent" in answer.output


def test_program_of_a_user_does_not_break_the_cluster_when_it_ends() -> None:
    cluster = Cluster.of(running())
    record = cluster.run_on_node("store", ["sleep", "60"], env={"KEY": "1"})
    process.end(record.identity, 5)
    assert Cluster.find("trial").state is not None
    cluster.down()
    assert load("trial") is None


def test_mount_in_the_folder_stops_its_deletion(monkeypatch: pytest.MonkeyPatch) -> None:
    state = running()
    mountinfo = f"36 35 98:0 / {state.directory}/node1/kubelet rw,noatime - tmpfs tmpfs rw\n"
    original = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda path, **kw: mountinfo if path.name == "mountinfo" else original(path, **kw)
    )
    with pytest.raises(ClusterError, match="node1/kubelet is still mounted in it"):
        Cluster.of(state).down()
    assert state.kubeconfig.exists()
