"""containerd and runc of one node: configuration, start, and the shims that outlive it."""

from __future__ import annotations

import os
import signal
from ipaddress import IPv4Network
from json import dumps
from pathlib import Path
from typing import Final

from tests.cluster import process
from tests.cluster.command import run
from tests.cluster.errors import ClusterError
from tests.cluster.state import ClusterState
from tests.cluster.topology import Node, registry_reference

PAUSE_IMAGE: Final = "localhost/slipway-pause:1"
CNI_PROGRAMS: Final = Path("/usr/lib/cni")
_NAMESPACE: Final = "k8s.io"
_SOCKET_PATH_LIMIT: Final = 100  # the kernel's is 107, and containerd puts `.ttrpc` behind it
_START_SECONDS: Final = 30.0


def start(state: ClusterState, node: Node) -> None:
    if len(str(node.socket)) > _SOCKET_PATH_LIMIT:
        raise ClusterError(
            f"{node.socket}: a socket's path may have {_SOCKET_PATH_LIMIT} characters, this one has "
            f"{len(str(node.socket))}; set SLIPWAY_CACHE to a shorter path."
        )
    registry = registry_reference(state)
    hosts = node.directory / "registries" / registry
    for folder in (hosts, node.directory / "cni"):
        folder.mkdir(parents=True, exist_ok=True)
    (hosts / "hosts.toml").write_text(hosts_file(registry), encoding="utf-8")
    configuration = node.directory / "containerd.toml"
    configuration.write_text(configuration_file(node), encoding="utf-8")
    process.start(state, node.program("containerd"), ["containerd", "--config", configuration], netns=node.netns)


def wait_until_ready(state: ClusterState, node: Node) -> None:
    process.wait_until(
        state,
        lambda: _answers(node),
        what=f"containerd answers at {node.socket}",
        needs=[node.program("containerd")],
        timeout_seconds=_START_SECONDS,
    )


def import_image(node: Node, archive: Path) -> None:
    run("ctr", "--address", node.socket, "--namespace", _NAMESPACE, "images", "import", archive)


def configuration_file(node: Node) -> str:
    """In the version that containerd 1.6 reads and 2.x still understands."""
    directory = node.directory / "containerd"
    return f"""\
version = 2
root = {dumps(str(directory / "root"))}
state = {dumps(str(directory / "state"))}
# The first writes below /opt, the others look for file systems that are not there.
disabled_plugins = [
  "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
  address = {dumps(str(node.socket))}
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {dumps(PAUSE_IMAGE)}
  netns_mounts_under_state_dir = true
  # No Pod gets more protection from the machine's OOM killer than the user's own programs have; and a root without
  # CAP_SYS_RESOURCE could not give it.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {dumps(str(CNI_PROGRAMS))}
    conf_dir = {dumps(str(node.directory / "cni"))}
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = {dumps(str(node.directory / "registries"))}
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = {dumps(str(directory / "runc"))}
      SystemdCgroup = false
"""


def hosts_file(registry: str) -> str:
    """Tells containerd that the registry speaks plain HTTP."""
    return f"""\
server = "http://{registry}"
[host."http://{registry}"]
  capabilities = ["pull", "resolve"]
"""


def write_pod_network(state: ClusterState, node: Node, pods: IPv4Network) -> None:
    """The node becomes Ready with it. Without the `loopback` plugin, which containerd adds by itself."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": str(pods)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": str(node.directory / "addresses"),
        },
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    document = {"cniVersion": "1.0.0", "name": f"slipway-{state.tag}", "plugins": [bridge, ports]}
    target = node.directory / "cni" / "10-bridge.conflist"
    partial = target.with_suffix(".partial")
    partial.write_text(dumps(document, indent=2), encoding="utf-8")
    partial.replace(target)  # containerd reads the file the moment it appears


def end_shims(node: Node) -> None:
    """A shim holds a Pod's containers and survives containerd; those of this node carry its socket as an argument."""
    for pid in shims(node):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def shims(node: Node) -> list[int]:
    wanted = b"\0-address\0" + str(node.socket).encode() + b"\0"
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:  # gone meanwhile
            continue
        if b"containerd-shim" in command.split(b"\0")[0] and wanted in command:
            found.append(int(entry.name))
    return found


def remove_shim_sockets(node: Node) -> None:
    """They lie in one folder of the machine; each Pod's bundle names its own."""
    tasks = node.directory / "containerd" / "state" / "io.containerd.runtime.v2.task" / _NAMESPACE
    for note in tasks.glob("*/address"):
        address = note.read_text(encoding="utf-8").removeprefix("unix://")
        if address.startswith("/run/containerd/s/"):
            Path(address).unlink(missing_ok=True)


def _answers(node: Node) -> bool:
    if not node.socket.exists():
        return False
    try:
        run("ctr", "--address", node.socket, "--connect-timeout", "1s", "version")
    except ClusterError:
        return False
    return True
