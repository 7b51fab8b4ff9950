"""What a node asks of the machine it runs on, what its programs change there, and how that is put back."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from tests.cluster import cgroups, process
from tests.cluster.command import run
from tests.cluster.errors import ClusterError, RequirementError
from tests.cluster.state import ClusterState, file_lock

# Each kubelet has its device plugins' sockets in this one folder, wherever its own folder is, and empties it at start.
_DEVICE_PLUGINS: Final = Path("/var/lib/kubelet/device-plugins")
# The kubelet links every container's log here, wherever the log is.
_LOG_LINKS: Final = Path("/var/log/containers")
# containerd's network library notes every Pod's addresses here.
_CNI_RESULTS: Final = Path("/var/lib/cni/results")
# One for the machine, whatever cache its clusters lie in.
_MEMORY: Final = Path("/run/slipway/kernel-settings.json")
# What the kubelet sets. Source: setupKernelTunables, k8s.io/kubernetes/pkg/kubelet/cm.
_TUNABLES: Final = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)


def check_user() -> None:
    """Raise what no installation mends."""
    if sys.platform != "linux":
        raise RequirementError(f"a node needs Linux, this is {sys.platform}; set KUBECONFIG to use another cluster.")
    if os.geteuid() != 0:
        raise RequirementError(
            f"a node needs root (network namespaces, mounts, cgroups), this is uid {os.geteuid()}; run it with sudo, "
            "or set KUBECONFIG and SLIPWAY_REGISTRY to use another cluster. The control-plane mode needs no root."
        )


def check_kernel() -> None:
    """Load what can be loaded, and raise one error that names everything still missing. Needs the package kmod."""
    lacks = [
        *_lacking_module("overlay", lambda: "overlay" in _filesystems(), "the overlay file system"),
        *_lacking_module("br_netfilter", Path("/proc/sys/net/bridge").exists, "iptables on bridges"),
    ]
    if without := cgroups.missing():
        lacks.append(f"cgroup controllers {', '.join(sorted(without))}: enable them on the kernel's command line")
    if other := _foreign_kubelets():
        lacks.append(
            f"to be the only kubelet: pids {', '.join(map(str, other))} are kubelets too, and all share "
            f"{_DEVICE_PLUGINS}; use that cluster by KUBECONFIG, or stop it"
        )
    if lacks:
        raise RequirementError("a node needs, and this machine lacks:\n" + "\n".join(f"  - {lack}" for lack in lacks))


def remember_settings() -> None:
    """Note the kernel's settings before the first kubelet changes them."""
    with _memory_lock():
        if _remembered() is None:
            settings = {name: (Path("/proc/sys") / name).read_text(encoding="ascii").strip() for name in _TUNABLES}
            _MEMORY.write_text(json.dumps({"boot": _boot_id(), "settings": settings}), encoding="utf-8")


def restore_settings() -> None:
    """The last kubelet's cluster puts them back, and takes the kubelets' common socket with it."""
    with _memory_lock():
        if any(True for _ in _kubelets()):
            return
        for name, value in (_remembered() or {}).items():
            (Path("/proc/sys") / name).write_text(value, encoding="ascii")
        _MEMORY.unlink(missing_ok=True)
        (_DEVICE_PLUGINS / "kubelet.sock").unlink(missing_ok=True)


def unmount_below(directory: Path) -> None:
    """Whatever the kubelet and containerd have mounted there, innermost first."""
    mounts = mounts_below(directory, Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    for mount in mounts:
        # Lazily: a killed process may hold it for a moment still.
        run("umount", "--lazy", "--no-canonicalize", mount)


def mounts_below(directory: Path, mountinfo: str) -> list[Path]:
    """Innermost and youngest first; one path comes as often as it is mounted over. Source: proc(5)."""
    points = [Path(_unescape(line.split(" ")[4])) for line in mountinfo.splitlines()]
    return [point for point in reversed(points) if point.is_relative_to(directory)]


def remove_traces(state: ClusterState) -> None:
    """Delete what the programs left in folders that can't be moved into the cluster's own."""
    for link in _entries(_LOG_LINKS):
        if link.is_symlink() and link.readlink().is_relative_to(state.directory):
            link.unlink()
    prefix = f"slipway-{state.tag}-"
    for result in _entries(_CNI_RESULTS):
        if result.name.startswith(prefix):
            sandbox = result.name.removeprefix(prefix).removesuffix("-eth0")
            result.unlink(missing_ok=True)
            (_CNI_RESULTS / f"cni-loopback-{sandbox}-lo").unlink(missing_ok=True)


def _lacking_module(module: str, present: Callable[[], bool], what: str) -> list[str]:
    if present():
        return []
    try:
        run("modprobe", module)
    except ClusterError as error:
        return [f"{what}, kernel module {module}: {error}"]
    return [] if present() else [f"{what}: the kernel module {module} was loaded and brought it not"]


def _filesystems() -> set[str]:
    return {line.split()[-1] for line in Path("/proc/filesystems").read_text(encoding="ascii").splitlines()}


def _foreign_kubelets() -> list[int]:
    """Kubelets that this tool has not started."""
    return [pid for pid, environment in _kubelets() if process.MARKER.encode() not in environment]


def _kubelets() -> Iterator[tuple[int, bytes]]:
    """Pid and environment of every kubelet on the machine."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            program = (entry / "cmdline").read_bytes().split(b"\0")[0]
            if program.rpartition(b"/")[2] == b"kubelet":
                yield int(entry.name), (entry / "environ").read_bytes()
        except OSError:  # gone meanwhile
            continue


def _memory_lock() -> AbstractContextManager[None]:
    return file_lock(_MEMORY.with_suffix(".lock"), what="the note of the kernel's settings")


def _remembered() -> Mapping[str, str] | None:
    """None when there is nothing, or when it is of an earlier boot and the kernel has its own values again."""
    try:
        document = json.loads(_MEMORY.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    settings: Mapping[str, str] = document["settings"]
    return settings if document["boot"] == _boot_id() else None


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _entries(directory: Path) -> list[Path]:
    return list(directory.iterdir()) if directory.is_dir() else []


def _unescape(text: str) -> str:
    """Blank, tab, newline and backslash are written as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
