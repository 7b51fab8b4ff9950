"""The local control plane is a real one, several run side by side, and nothing of them stays behind."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import control_plane as parts
from tests.cluster import lifecycle, pki, process, versions
from tests.cluster.errors import ClusterError
from tests.cluster.lifecycle import Cluster
from tests.cluster.state import ClusterState, load
from tests.fixtures.objects import Objects

pytestmark = [pytest.mark.api, pytest.mark.timeout(300)]

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def local(control_plane: Cluster) -> ClusterState:
    if control_plane.state is None:
        pytest.skip("KUBECONFIG is set: these tests are about the cluster that the tool itself starts; unset it.")
    return control_plane.state


@pytest.fixture(scope="module")
def other_name(local: ClusterState) -> Iterator[str]:
    """A second cluster's name; the tests leave it as they like, and it is taken down after the last."""
    name = f"other-{os.getpid()}"
    yield name
    lifecycle.down(name)


def container(name: str = "web") -> dict[str, str]:
    return {"name": name, "image": "registry.invalid/web:1"}


def test_server_says_the_pinned_version(local: ClusterState) -> None:
    assert parts.api_get(local, "/version")["gitVersion"] == f"v{versions.KUBERNETES}"


def test_controllers_act_when_a_deployment_is_created_and_deleted(objects: Objects) -> None:
    pod = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container()]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": pod}
    objects.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
    objects.wait_for(
        "deployment", "web", lambda found: found.get("status", {}).get("replicas") == 2, what="two replicas are created"
    )
    (replica_set,) = objects.list("replicaset", "app=web")
    objects.delete("deployment", "web")
    objects.wait_collected("replicaset", replica_set["metadata"]["name"])


def test_pod_is_refused_when_its_namespace_enforces_restricted(objects: Objects) -> None:
    objects.kubectl("label", "namespace", objects.namespace, "pod-security.kubernetes.io/enforce=restricted")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": [container()]}}
    assert 'violates PodSecurity "restricted' in objects.refusal(pod)


def test_kubelet_reads_no_secret_when_none_of_its_pods_uses_it(local: ClusterState, tmp_path: Path) -> None:
    authority = pki.load_authority(local.pki)
    pair = authority.issue_kubelet("node7", ["192.0.2.7"])
    kubeconfig = parts.kubeconfig_for(local, pair, tmp_path / "kubeconfig")
    kubelet = Cluster(name="as-kubelet", kubeconfig=kubeconfig)
    with pytest.raises(ClusterError, match="forbidden"):
        kubelet.kubectl("get", "secrets", "--all-namespaces")
    assert "system:nodes" in kubelet.kubectl("auth", "whoami")


def test_etcd_refuses_whoever_has_only_a_client_certificate_of_the_cluster(local: ClusterState) -> None:
    context = ssl.create_default_context(cafile=local.pki / "etcd-ca.crt")
    context.load_cert_chain(local.pki / "admin.crt", local.pki / "admin.key")
    address = ("127.0.0.1", local.ports["etcd-client"])
    with (
        socket.create_connection(address, timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
        # With TLS 1.3 the server's refusal arrives with the first read.
        pytest.raises((ssl.SSLError, ConnectionResetError)),
    ):
        secured.recv(100)


def test_objects_stay_apart_when_two_clusters_run_side_by_side(local: ClusterState, other_name: str) -> None:
    other = Cluster.up(other_name, owned=True)
    assert other.state is not None
    assert not set(other.state.ports.values()) & set(local.ports.values())
    other.kubectl("create", "namespace", "only-here")
    assert parts.api_status(local, "/api/v1/namespaces/only-here") == 404
    assert parts.api_status(other.state, "/api/v1/namespaces/only-here") == 200


def test_up_makes_the_cluster_anew_when_a_part_of_it_died(local: ClusterState, other_name: str) -> None:
    first = Cluster.up(other_name, owned=True).state
    assert first is not None
    broken = first.processes["kube-apiserver"].identity
    os.kill(broken.pid, signal.SIGKILL)
    process.end(broken, 5)
    second = Cluster.up(other_name, owned=True)
    assert second.kubectl("get", "--raw", "/readyz") == "ok"
    assert not any(process.is_alive(record.identity) for record in first.processes.values())


def test_down_leaves_no_process_no_port_and_no_folder(local: ClusterState, other_name: str) -> None:
    other = Cluster.up(other_name, owned=True)
    assert other.state is not None
    records = list(other.state.processes.values())
    assert len(records) == 3
    other.down()
    assert [record.argv[0] for record in records if process.is_alive(record.identity)] == []
    assert process.strays(other.directory) == []
    assert [port for port in other.state.ports.values() if _is_listening(port)] == []
    assert not other.directory.exists()
    assert parts.api_status(local, "/readyz") == 200


def test_leftovers_of_a_killed_run_are_cleaned_by_the_next_and_nothing_else(local: ClusterState) -> None:
    name = f"killed-{os.getpid()}"
    command = [sys.executable, "-m", "tests.cluster"]
    with subprocess.Popen([*command, "up", "--name", name], cwd=REPOSITORY) as run:
        while (left := load(name)) is None or "kube-apiserver" not in left.processes:
            assert run.poll() is None
            time.sleep(0.05)
        run.kill()
    assert all(process.is_alive(record.identity) for record in left.processes.values())

    answer = subprocess.run([*command, "down", "--name", "another"], cwd=REPOSITORY, capture_output=True, text=True)
    assert answer.stdout == f"Stopped: {name}\n", answer.stderr
    assert not any(process.is_alive(record.identity) for record in left.processes.values())
    assert not left.directory.exists()
    assert parts.api_status(local, "/readyz") == 200


def test_up_finds_the_running_cluster_when_it_is_typed_twice(local: ClusterState) -> None:
    again = Cluster.up(local.name)
    assert again.state is not None
    assert again.state.processes == local.processes


def test_up_refuses_another_shape_when_the_cluster_runs(local: ClusterState) -> None:
    command = [sys.executable, "-m", "tests.cluster", "up", "--name", local.name, "--mode", "node", "--gpus", "2"]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert answer.returncode == 2
    assert f"down --name {local.name}" in answer.stderr
    assert "Traceback" not in answer.stderr


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
