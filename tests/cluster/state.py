"""What one cluster is and which processes belong to it, kept as JSON in one folder per cluster."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Final, TextIO

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from tests.cluster.errors import ClusterError

STATE_FILE: Final = "state.json"
LOCK_WAIT_SECONDS: Final = 300.0
NAME_PATTERN: Final = re.compile(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?")


class Mode(StrEnum):
    CONTROL_PLANE = "control-plane"
    NODE = "node"


class ProcessIdentity(BaseModel):
    """One process and no other: a recycled pid differs in its start, a pid of an earlier boot in the boot's id."""

    model_config = ConfigDict(frozen=True)

    pid: int
    start_ticks: int
    """Clock ticks from boot to start. Source: field 22 of /proc/PID/stat, proc(5)."""
    boot_id: str


class ProcessRecord(BaseModel):
    model_config = ConfigDict(frozen=True)

    identity: ProcessIdentity
    argv: list[str]
    log: Path
    netns: str | None = None
    essential: bool = True
    """Without it the cluster is broken; a program that a user runs beside the cluster is not."""


class ClusterState(BaseModel):
    """Saved after every change, so that a killed run leaves a true account of what to clean."""

    name: str
    mode: Mode
    directory: Path
    ready: bool = False
    """Set once everything answered; a cluster that never got so far is made anew."""
    owner: ProcessIdentity | None = None
    """While set, the cluster belongs to that process and is abandoned once the process is gone."""
    api_host: str = "127.0.0.1"
    """Where the API server answers: loopback, or the node's address in node mode."""
    ports: dict[str, int] = {}
    node_address: str | None = None
    address_range: str | None = None
    """The /16 that the cluster has for itself; the three ranges below lie in it."""
    node_ranges: list[str] = []
    service_range: str = "10.96.0.0/16"
    pod_range: str = "10.244.0.0/16"
    netns: str | None = None
    """Name under /var/run/netns of the first node's network namespace, or None: the machine's own network."""
    nodes: int = 1
    gpus_per_node: int = 0
    registry: str | None = None
    ingress_address: str | None = None
    audit_rules: list[dict[str, JsonValue]] = []
    """What the API server's audit log tells, before what it tells anyway."""
    processes: dict[str, ProcessRecord] = {}
    """In starting order: stopping goes backwards."""
    details: dict[str, JsonValue] = {}
    """What only one mode knows, kept for its own take-down."""

    @property
    def tag(self) -> str:
        """Eight characters that name this cluster machine-wide (interfaces, namespaces, cgroups)."""
        return hashlib.sha256(str(self.directory).encode()).hexdigest()[:8]

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    @property
    def pki(self) -> Path:
        return self.directory / "pki"

    @property
    def logs(self) -> Path:
        return self.directory / "log"

    @property
    def server(self) -> str:
        return f"https://{self.api_host}:{self.ports['apiserver']}"

    def save(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = self.directory / STATE_FILE
        partial = target.with_suffix(f".{os.getpid()}")
        partial.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
        partial.replace(target)


def cache_directory() -> Path:
    """Where everything slow or stateful lies; SLIPWAY_CACHE moves it."""
    configured = os.environ.get("SLIPWAY_CACHE")
    return Path(configured).expanduser().resolve() if configured else Path.home() / ".cache" / "slipway"


def clusters_directory() -> Path:
    return cache_directory() / "clusters"


def cluster_directory(name: str) -> Path:
    if not NAME_PATTERN.fullmatch(name):
        raise ClusterError(
            f"cluster name {name!r}: expected lower-case letters, digits and dashes, "
            "starting with a letter, 30 characters at most."
        )
    return clusters_directory() / name


def load(name: str) -> ClusterState | None:
    path = cluster_directory(name) / STATE_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        return ClusterState.model_validate_json(text)
    except ValidationError as error:
        raise ClusterError(
            f"{path} is damaged ({error.error_count()} errors). Stop what it names by hand, then delete the folder."
        ) from error


def load_all() -> list[ClusterState]:
    names = sorted(path.parent.name for path in clusters_directory().glob(f"*/{STATE_FILE}"))
    return [state for name in names if (state := load(name)) is not None]


@contextmanager
def file_lock(path: Path, *, what: str, wait_seconds: float = LOCK_WAIT_SECONDS) -> Iterator[None]:
    """Exclusive among processes and threads; given back by the kernel when the holder dies."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_seconds
    while (file := _try_lock(path)) is None:
        if time.monotonic() >= deadline:
            holder = path.read_text(encoding="utf-8").strip() if path.exists() else ""
            raise ClusterError(f"{what} is in the hands of pid {holder or 'unknown'} (lock {path}); wait for it.")
        time.sleep(0.1)
    with file:
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _try_lock(path: Path) -> TextIO | None:
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The former holder may have deleted the file: then this lock excludes nobody.
        if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
            return file
    except BlockingIOError:
        pass
    file.close()
    return None


@contextmanager
def cluster_lock(name: str, *, wait_seconds: float = LOCK_WAIT_SECONDS) -> Iterator[None]:
    """Two `up` of one name exclude each other. The file lies beside the folder, and goes when that is gone."""
    directory = cluster_directory(name)
    path = directory.with_suffix(".lock")
    with file_lock(path, what=f"cluster {name}", wait_seconds=wait_seconds):
        try:
            yield
        finally:
            if not directory.exists():
                path.unlink(missing_ok=True)


@contextmanager
def allocation_lock() -> Iterator[None]:
    """Held from choosing ports and addresses until the state that names them is saved."""
    with file_lock(clusters_directory() / ".allocation.lock", what="the allocation of ports"):
        yield
