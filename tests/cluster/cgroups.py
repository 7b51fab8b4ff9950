"""The cgroups of a node: a root of its own in every hierarchy, so that two clusters never share `kubepods`."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path
from typing import Final

from tests.cluster.errors import ClusterError, RequirementError

ROOT: Final = Path("/sys/fs/cgroup")
NEEDED: Final = frozenset({"cpu", "cpuset", "memory", "pids"})
_REMOVE_SECONDS: Final = 10.0


def is_unified(root: Path = ROOT) -> bool:
    """Version 2 alone; with both mounted, the controllers are at version 1."""
    return (root / "cgroup.controllers").exists()


def controllers(root: Path = ROOT) -> set[str]:
    if is_unified(root):
        return set((root / "cgroup.controllers").read_text(encoding="ascii").split())
    # A folder may hold several, "cpu,cpuacct", beside links of their single names.
    return {name for folder in root.iterdir() if folder.is_dir() for name in folder.name.split(",")}


def missing(root: Path = ROOT) -> set[str]:
    return set(NEEDED - controllers(root))


def hierarchies(root: Path = ROOT) -> list[Path]:
    """Where each hierarchy is mounted: one folder with version 2, several with version 1."""
    if is_unified(root):
        return [root]
    return sorted({folder.resolve() for folder in root.iterdir() if (folder / "cgroup.procs").exists()})


def create(name: str, root: Path = ROOT) -> None:
    if is_unified(root):
        _create_unified(root, name)
        return
    for hierarchy in hierarchies(root):
        folder = hierarchy / name
        folder.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):  # empty in a new cpuset, and nothing can run in it then
            if (folder / setting).exists():
                (folder / setting).write_text((hierarchy / setting).read_text(encoding="ascii"), encoding="ascii")


def kill(name: str, root: Path = ROOT) -> None:
    """SIGKILL whatever runs in it and below, until nothing does."""
    deadline = time.monotonic() + _REMOVE_SECONDS
    while pids := _pids(name, root):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise ClusterError(f"cgroup {name}: processes {sorted(pids)} did not end after SIGKILL.")
        time.sleep(0.05)


def remove(name: str, root: Path = ROOT) -> None:
    """With everything below it; `kill` has emptied it."""
    for hierarchy in hierarchies(root):
        top = hierarchy / name
        # A cgroup's files can't be deleted and needn't be: the folders alone, deepest first.
        for folder, _, _ in os.walk(top, topdown=False):
            _remove_folder(Path(folder))


def _create_unified(root: Path, name: str) -> None:
    folder = root / name
    wanted = " ".join(f"+{controller}" for controller in sorted(controllers(root) & {*NEEDED, "io", "hugetlb"}))
    try:
        (root / "cgroup.subtree_control").write_text(wanted, encoding="ascii")
        folder.mkdir(exist_ok=True)
        (folder / "cgroup.subtree_control").write_text(wanted, encoding="ascii")
    except OSError as error:
        raise RequirementError(
            f"{folder}: could not make a cgroup with {wanted!r}: {error.strerror}. The node needs the machine's root "
            "cgroup: run outside a container, or in one with --privileged --cgroupns=host."
        ) from error


def _pids(name: str, root: Path) -> set[int]:
    found: set[int] = set()
    for hierarchy in hierarchies(root):
        for folder, _, _ in os.walk(hierarchy / name):  # which, unlike rglob, bears folders that vanish meanwhile
            try:
                found.update(map(int, Path(folder, "cgroup.procs").read_text(encoding="ascii").split()))
            except OSError:
                continue
    return found


def _remove_folder(folder: Path) -> None:
    deadline = time.monotonic() + _REMOVE_SECONDS
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            # A killed process stays in its cgroup until its parent has waited for it.
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise ClusterError(f"{folder}: could not be removed: {error.strerror}.") from error
            time.sleep(0.05)
        else:
            return
