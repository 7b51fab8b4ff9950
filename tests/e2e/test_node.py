"""The local cluster's node is a real one: it pulls, runs, probes, routes, refuses, and leaves nothing behind."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import addons, cgroups, containerd
from tests.cluster import node as node_mode
from tests.cluster.lifecycle import Cluster
from tests.cluster.loading import load_image
from tests.cluster.machine import mounts_below
from tests.cluster.network import NETNS_DIRECTORY
from tests.cluster.state import ClusterState
from tests.cluster.topology import nodes
from tests.fixtures.objects import Manifest, Objects
from tests.fixtures.waiting import wait_until

pytestmark = pytest.mark.e2e

PROBE_SOURCE = Path(__file__).parent / "probe" / "probe.c"
PROBE_IMAGE = "localhost/slipway-probe:test"
TEXT = "a real answer"
PULL_SECONDS = 180.0


@pytest.fixture(scope="module")
def local(node: Cluster) -> Cluster:
    """Promises of the tool's own node, which KUBECONFIG's cluster need not keep."""
    if node.state is None:
        pytest.skip("KUBECONFIG names a cluster that this tool did not make; unset it to test the tool's own.")
    return node


@pytest.fixture(scope="module")
def local_image(local: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """In buildah's own storage: one static program and nothing else."""
    program = tmp_path_factory.mktemp("probe") / "probe"
    run("gcc", "-static", "-Os", "-s", "-w", "-o", str(program), str(PROBE_SOURCE))
    container = run("buildah", "from", "scratch").strip()
    run("buildah", "copy", "--quiet", container, str(program), "/probe")
    run("buildah", "config", "--entrypoint", '["/probe"]', "--user", "65532:65532", container)
    run("buildah", "commit", "--quiet", "--rm", container, PROBE_IMAGE)
    yield PROBE_IMAGE
    run("buildah", "rmi", PROBE_IMAGE)


@pytest.fixture(scope="module")
def image(local: Cluster, local_image: str) -> str:
    return load_image(local, local_image)


@pytest.fixture
def served(objects: Objects, image: str) -> Objects:
    """Two ready Pods behind a Service and an Ingress, all named `web`."""
    apply_web(objects, image)
    return objects


def run(*argv: str) -> str:
    environment = {"STORAGE_DRIVER": "overlay", "BUILDAH_ISOLATION": "chroot", **os.environ}
    finished = subprocess.run(argv, capture_output=True, text=True, env=environment)
    assert finished.returncode == 0, f"{' '.join(argv)}: {finished.stderr}"
    return finished.stdout


def pod(name: str, image: str, *arguments: str, resources: dict[str, dict[str, str]] | None = None) -> Manifest:
    container = {"name": "probe", "image": image, "args": list(arguments), "resources": resources or {}}
    spec = {"containers": [container], "restartPolicy": "Never", "terminationGracePeriodSeconds": 1}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def apply_web(objects: Objects, image: str) -> None:
    labels = {"app": "web"}
    template: dict[str, Any] = pod("web", image, "serve", "8080", TEXT)["spec"] | {"restartPolicy": "Always"}
    template["containers"][0]["readinessProbe"] = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    template["topologySpreadConstraints"] = [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": labels},
        }
    ]
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": template},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    ingress = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "web"},
        "spec": {
            "rules": [
                {"host": host(objects), "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
            ]
        },
    }
    for manifest in (deployment, service, ingress):
        objects.apply(manifest)
    objects.kubectl("rollout", "status", "deployment/web", f"--timeout={PULL_SECONDS:.0f}s")
    # kube-proxy learns of the endpoints a moment after the API server.
    wait_until(lambda: answers(cluster_ip(objects)), "the Service leads to its pods")


def get(address: str, host: str = "") -> tuple[int, str]:
    """Not through a configured proxy, which knows no address of the cluster."""
    connection = http.client.HTTPConnection(address, 80, timeout=5)
    try:
        connection.request("GET", "/", headers={"Host": host} if host else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def answers(address: str, host: str = "") -> bool:
    """Whether the page comes from there; no connection is an answer too."""
    try:
        return get(address, host) == (200, TEXT)
    except OSError:
        return False


def host(objects: Objects) -> str:
    """A name that no other namespace's Ingress claims."""
    return f"{objects.namespace}.example.com"


def wait_routed(address: str | None, objects: Objects) -> None:
    """The Ingress controller learns of a route a moment after the API server."""
    assert address is not None
    wait_until(lambda: answers(address, host(objects)), lambda: f"the Ingress answers {get(address, host(objects))}")


def cluster_ip(objects: Objects) -> str:
    service = objects.get("service", "web")
    assert service is not None
    address: str = service["spec"]["clusterIP"]
    return address


def container_state(manifest: Manifest, state: str) -> dict[str, Any]:
    """Of the only container; empty while it is in another state."""
    statuses = manifest["status"].get("containerStatuses", [])
    found: dict[str, Any] = statuses[0]["state"].get(state, {}) if statuses else {}
    return found


def has_ended(manifest: Manifest) -> bool:
    return bool(container_state(manifest, "terminated"))


def wait_ended(objects: Objects, name: str) -> dict[str, Any]:
    ended = objects.wait_for("pod", name, has_ended, what="the container has ended", timeout_seconds=PULL_SECONDS)
    return container_state(ended, "terminated")


def test_the_nodes_are_ready_and_say_what_runs_them(local: Cluster) -> None:
    found = json.loads(local.kubectl("get", "nodes", "--output=json"))["items"]
    assert [item["metadata"]["name"] for item in found] == ["node1", "node2"]
    for item in found:
        assert node_mode.is_ready(item)
        assert item["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("containerd://")


def test_a_service_is_reached_from_the_machine(served: Objects) -> None:
    assert get(cluster_ip(served)) == (200, TEXT)


def test_a_service_is_reached_by_its_dns_name_from_another_pod(served: Objects, image: str) -> None:
    for name, host in (("short", "web"), ("full", f"web.{served.namespace}.svc.cluster.local")):
        served.apply(pod(name, image, "get", host, "80"))
        assert wait_ended(served, name)["exitCode"] == 0
        assert served.kubectl("logs", name).endswith(TEXT)


def test_a_name_that_does_not_exist_is_refused_at_once(objects: Objects, image: str) -> None:
    objects.apply(pod("lost", image, "get", "nowhere.example.com", "80"))
    assert wait_ended(objects, "lost")["exitCode"] == 1
    assert "Name or service not known" in objects.kubectl("logs", "lost")


def test_an_ingress_routes_by_host_and_gets_the_nodes_address(local: Cluster, served: Objects) -> None:
    def has_address(ingress: Manifest) -> bool:
        entries = ingress["status"].get("loadBalancer", {}).get("ingress", [])
        return [entry["ip"] for entry in entries] == [local.ingress_address]

    ingress = served.wait_for("ingress", "web", has_address, what="the Ingress has the node's address")
    assert ingress["spec"]["ingressClassName"] == "traefik", "the default class is filled in"
    wait_routed(local.ingress_address, served)
    assert get(str(local.ingress_address), "other.example.com")[0] == 404


def test_a_pod_reaches_a_process_that_runs_on_the_nodes_network(
    local: Cluster, objects: Objects, image: str, tmp_path: Path
) -> None:
    (tmp_path / "index.html").write_text("beside")
    # Not http.server's own command, which asks for the address's name first; nobody there resolves names.
    serve = (
        "import os, sys; from http.server import SimpleHTTPRequestHandler; from socketserver import TCPServer;"
        "os.chdir(sys.argv[2]); TCPServer((sys.argv[1], 7177), SimpleHTTPRequestHandler).serve_forever()"
    )
    record = local.run_on_node("beside", [sys.executable, "-c", serve, str(local.node_address), tmp_path])
    wait_until(lambda: addons.accepts(str(local.node_address), 7177), "something listens on the node's network")
    objects.apply(pod("caller", image, "get", str(local.node_address), "7177"))
    assert wait_ended(objects, "caller")["exitCode"] == 0
    assert objects.kubectl("logs", "caller").endswith("beside")
    os.kill(record.identity.pid, signal.SIGTERM)


def test_the_image_comes_from_the_clusters_own_registry(local: Cluster, image: str, served: Objects) -> None:
    assert local.registry is not None
    assert image.startswith(f"{local.registry}/slipway-probe@sha256:")
    pods = served.list("pods", "app=web")
    assert {item["status"]["containerStatuses"][0]["imageID"] for item in pods} == {image}


def test_an_unknown_image_is_an_err_image_pull(local: Cluster, objects: Objects) -> None:
    def refused(manifest: Manifest) -> bool:
        return container_state(manifest, "waiting").get("reason") in {"ErrImagePull", "ImagePullBackOff"}

    objects.apply(pod("unknown", f"{local.registry}/nothing/of/that/name:1"))
    found = objects.wait_for("pod", "unknown", refused, what="the image is refused")
    assert "not found" in container_state(found, "waiting")["message"]


def test_a_container_over_its_memory_limit_is_killed_with_137(objects: Objects, image: str) -> None:
    objects.apply(pod("glutton", image, "eat", resources={"limits": {"memory": "16Mi"}}))
    ended = wait_ended(objects, "glutton")
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")


def test_pretended_gpus_are_counted_by_the_scheduler(local: Cluster, objects: Objects, image: str) -> None:
    def is_unschedulable(manifest: Manifest) -> bool:
        conditions = manifest["status"].get("conditions", [])
        return any(c["type"] == "PodScheduled" and c.get("reason") == "Unschedulable" for c in conditions)

    assert local.state is not None
    one = nodes(local.state)[0]
    node_mode.pretend_gpus(local.state, one, 2)
    try:
        for name, count in (("modest", "1"), ("greedy", "5")):
            limits = {"limits": {node_mode.GPU_RESOURCE: count}}
            objects.apply(pod(name, image, "serve", "8080", TEXT, resources=limits))
        greedy = objects.wait_for("pod", "greedy", is_unschedulable, what="the scheduler has judged")
        objects.wait_for(
            "pod", "modest", lambda manifest: manifest["status"]["phase"] == "Running", what="it runs",
            timeout_seconds=PULL_SECONDS,
        )  # fmt: skip
        messages = [condition.get("message", "") for condition in greedy["status"]["conditions"]]
        assert any(f"Insufficient {node_mode.GPU_RESOURCE}" in message for message in messages)
    finally:
        for name in ("modest", "greedy"):
            objects.delete("pod", name)
        node_mode.pretend_gpus(local.state, one, 0)


@pytest.fixture
def second(local: Cluster) -> Iterator[Cluster]:
    """Two nodes with a GPU each, beside the cluster that the other tests use."""
    cluster = Cluster.up(f"pytest-second-{os.getpid()}", mode="node", nodes=2, gpus=1, owned=True)
    yield cluster
    cluster.down()


@pytest.mark.timeout(400)
def test_a_second_cluster_routes_between_two_nodes_and_leaves_nothing_after_a_crash(
    local: Cluster, second: Cluster, local_image: str, served: Objects, machine_rules: Callable[[], str]
) -> None:
    rules, traces = machine_rules(), shared_traces()
    state = second.state
    assert state is not None
    others = Objects(second, "default")
    apply_web(others, load_image(second, local_image))
    pods = others.list("pods", "app=web")
    assert {item["spec"]["nodeName"] for item in pods} == {"node1", "node2"}
    for item in pods:
        for target in (cluster_ip(others), "web"):
            answer = others.kubectl("exec", item["metadata"]["name"], "--", "/probe", "get", target, "80")
            assert answer.endswith(TEXT), f"from {item['spec']['nodeName']} to {target}"
    assert get(cluster_ip(others)) == (200, TEXT)
    wait_routed(second.ingress_address, others)
    gpus = [item["status"]["allocatable"][node_mode.GPU_RESOURCE] for item in others.list("nodes")]
    assert gpus == ["1", "1"]

    for record in state.processes.values():
        os.kill(record.identity.pid, signal.SIGKILL)
    assert any(containerd.shims(member) for member in nodes(state)), "containers outlive a crash"
    second.down()

    assert remains(state) == []
    assert shared_traces() <= traces
    assert machine_rules() == rules, "the machine's own rules are as they were"
    assert get(cluster_ip(served)) == (200, TEXT), "the first cluster did not notice"


@pytest.mark.timeout(300)
def test_a_cluster_with_running_pods_leaves_nothing_when_it_is_taken_down(local: Cluster, local_image: str) -> None:
    cluster = Cluster.up(f"pytest-third-{os.getpid()}", mode="node", owned=True)
    traces = shared_traces()
    state = cluster.state
    assert state is not None
    try:
        apply_web(Objects(cluster, "default"), load_image(cluster, local_image))
        assert shared_traces() - traces, "otherwise there is nothing to leave behind"
    finally:
        cluster.down()
    assert remains(state) == []
    assert shared_traces() <= traces


@pytest.fixture
def machine_rules() -> Callable[[], str]:
    """The machine's own packet filter, without the counters."""
    return lambda: run("iptables", "-w", "-S") + run("iptables", "-w", "-t", "nat", "-S")


def shared_traces() -> set[Path]:
    """What the programs write into folders that all clusters share."""
    folders = map(Path, ("/run/containerd/s", "/var/lib/cni/results", "/var/log/containers"))
    return {entry for folder in folders if folder.is_dir() for entry in folder.iterdir()}


def remains(state: ClusterState) -> list[str]:
    """Everything on the machine that still belongs to this cluster."""
    found = [str(path) for path in mounts_below(state.directory, Path("/proc/self/mountinfo").read_text())]
    found += [line for line in run("ip", "route").splitlines() if any(m.veth in line for m in nodes(state))]
    for member in nodes(state):
        found += [str(pid) for pid in containerd.shims(member)]
        paths = [NETNS_DIRECTORY / member.netns, Path("/sys/class/net") / member.veth]
        paths += [hierarchy / member.cgroup for hierarchy in cgroups.hierarchies()]
        found += [str(path) for path in paths if path.exists()]
    wanted = str(state.directory).encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if wanted in (entry / "cmdline").read_bytes():
                    found.append(f"process {entry.name}")
            except OSError:
                continue
    return found + ([str(state.directory)] if state.directory.exists() else [])
