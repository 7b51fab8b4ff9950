"""Names and addresses of nodes, and what is read off the machine to clean up after them."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from tests.cluster import addons, cgroups, containerd, machine, topology
from tests.cluster.loading import cluster_reference
from tests.cluster.node import is_ready
from tests.cluster.ports import AddressPlan, free_plan
from tests.cluster.state import ClusterState, Mode

pytestmark = pytest.mark.unit

INTERFACE_NAME_LIMIT = 15


def state(name: str = "one", nodes: int = 2, plan: AddressPlan | None = None) -> ClusterState:
    plan = plan or free_plan([])
    return ClusterState(
        name=name,
        mode=Mode.NODE,
        directory=Path("/cache/clusters") / name,
        address_range=str(plan.whole),
        node_ranges=[str(network) for network in plan.node_networks[:nodes]],
        service_range=str(plan.services),
        pod_range=str(plan.pods),
    )


def test_nodes_share_nothing_when_a_cluster_has_several() -> None:
    nodes = topology.nodes(state(nodes=9))
    for values in (
        [node.name for node in nodes],
        [node.netns for node in nodes],
        [node.veth for node in nodes],
        [node.socket for node in nodes],
        [node.cgroup for node in nodes],
        [address for node in nodes for address in (node.address, node.gateway)],
    ):
        assert len(set(values)) == len(values)


def test_clusters_share_nothing_when_they_run_side_by_side() -> None:
    first, second = state("one"), state("two", plan=free_plan([free_plan([]).whole]))
    pairs = list(zip(topology.nodes(first), topology.nodes(second), strict=True))
    for one, other in pairs:
        assert one.netns != other.netns
        assert one.veth != other.veth
        assert one.cgroup != other.cgroup
        assert not one.network.overlaps(other.network)


def test_an_interface_has_a_name_that_the_kernel_takes() -> None:
    assert all(len(node.veth) <= INTERFACE_NAME_LIMIT for node in topology.nodes(state(nodes=9)))


def test_dns_answers_at_the_tenth_service_address() -> None:
    cluster = state()
    assert topology.dns_address(cluster) == IPv4Address(cluster.service_range.partition("/")[0]) + 10


def test_the_dns_service_leads_to_the_first_node() -> None:
    cluster = state()
    node = topology.nodes(cluster)[0]
    service, endpoints = addons.dns_service(cluster, node)["items"]
    assert service["spec"]["clusterIP"] == str(topology.dns_address(cluster))
    assert endpoints["endpoints"][0]["addresses"] == [str(node.address)]
    assert endpoints["metadata"]["labels"]["kubernetes.io/service-name"] == service["metadata"]["name"]


def test_containerd_writes_below_the_clusters_folder_alone() -> None:
    node = topology.nodes(state())[0]
    paths = [
        word.strip('"')
        for line in containerd.configuration_file(node).splitlines()
        for word in line.split()
        if word.startswith('"/')
    ]
    assert len(paths) >= 7
    assert {path for path in paths if not path.startswith(str(node.directory))} == {str(containerd.CNI_PROGRAMS)}


MOUNTINFO = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 22 254:0 /k /cache/clusters/one/node1/kubelet rw - ext4 /dev/vda rw
41 40 0:50 / /cache/clusters/one/node1/kubelet/pods/a\\040b rw - tmpfs tmpfs rw
42 22 0:51 / /cache/clusters/one-more/node1 rw - tmpfs tmpfs rw
43 41 0:52 / /cache/clusters/one/node1/kubelet/pods/a\\040b rw - tmpfs tmpfs rw
"""


def test_mounts_are_undone_innermost_first_and_no_other_clusters() -> None:
    kubelet = Path("/cache/clusters/one/node1/kubelet")
    assert machine.mounts_below(Path("/cache/clusters/one"), MOUNTINFO) == [
        kubelet / "pods" / "a b",
        kubelet / "pods" / "a b",
        kubelet,
    ]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("localhost/probe:1", "10.0.0.1:5000/probe:1"),
        ("localhost:5000/team/probe", "10.0.0.1:5000/team/probe:latest"),
        ("registry.example.com/team/probe:v2", "10.0.0.1:5000/team/probe:v2"),
        ("team/probe:v2", "10.0.0.1:5000/team/probe:v2"),
        ("probe", "10.0.0.1:5000/probe:latest"),
        ("probe:1@sha256:" + 64 * "a", "10.0.0.1:5000/probe:1"),
    ],
)
def test_an_image_keeps_its_name_and_tag_in_the_clusters_registry(image: str, expected: str) -> None:
    assert cluster_reference("10.0.0.1:5000", image) == expected


def hierarchy(root: Path, names: list[str]) -> Path:
    """Folders as version 1 mounts them."""
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "cgroup.procs").write_text("")
    return root


def test_missing_controllers_are_named_with_version_1(tmp_path: Path) -> None:
    root = hierarchy(tmp_path, ["cpu,cpuacct", "memory", "pids", "systemd"])
    assert cgroups.missing(root) == {"cpuset"}


def test_missing_controllers_are_named_with_version_2(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu io memory\n")
    assert cgroups.missing(tmp_path) == {"cpuset", "pids"}


def test_controllers_are_handed_down_with_version_2(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu cpuset io memory misc pids\n")
    cgroups.create("mine", tmp_path)
    wanted = "+cpu +cpuset +io +memory +pids"
    assert (tmp_path / "cgroup.subtree_control").read_text() == wanted
    assert (tmp_path / "mine" / "cgroup.subtree_control").read_text() == wanted


def test_a_cpuset_of_version_1_gets_its_parents_cpus(tmp_path: Path) -> None:
    root = hierarchy(tmp_path, ["cpuset", "memory"])
    for name, value in (("cpuset.cpus", "0-1\n"), ("cpuset.mems", "0\n")):
        (root / "cpuset" / name).write_text(value)
        (root / "cpuset" / "mine").mkdir(exist_ok=True)
        (root / "cpuset" / "mine" / name).write_text("\n")  # the kernel makes them with the folder
    cgroups.create("mine", root)
    assert (root / "cpuset" / "mine" / "cpuset.cpus").read_text() == "0-1\n"
    assert (root / "cpuset" / "mine" / "cpuset.mems").read_text() == "0\n"
    assert (root / "memory" / "mine").is_dir()


@pytest.mark.parametrize(
    ("conditions", "spec", "ready"),
    [
        ([{"type": "Ready", "status": "True"}], {}, True),
        ([{"type": "Ready", "status": "False"}], {}, False),
        ([], {}, False),
        ([{"type": "Ready", "status": "True"}], {"taints": [{"key": "node.kubernetes.io/not-ready"}]}, False),
    ],
)
def test_a_node_is_ready_when_pods_may_come(conditions: list[object], spec: dict[str, object], ready: bool) -> None:
    assert is_ready({"spec": spec, "status": {"conditions": conditions}}) is ready
