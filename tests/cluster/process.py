"""Start, watch and stop the processes of a cluster; only ever signals a process that it can prove to be its own."""

from __future__ import annotations

import atexit
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.cluster.errors import ClusterError
from tests.cluster.state import ClusterState, ProcessIdentity, ProcessRecord

MARKER: Final = "SLIPWAY_CLUSTER_DIRECTORY"
"""In the environment of everything started here, so that a process is found even if its start was never recorded."""
STOP_SECONDS: Final = 4.0
LOG_TAIL_LINES: Final = 15
_PROXY_VARIABLES: Final = ("http_proxy", "https_proxy", "all_proxy")

# A child must be waited for by its parent, or it stays a zombie as long as a test run lasts.
_children: dict[int, subprocess.Popen[bytes]] = {}


@atexit.register
def _disown() -> None:
    """What still runs is meant to outlive this process; Popen would take it for forgotten and warn."""
    for child in _children.values():
        if child.poll() is None:
            child.returncode = 0


def identify(pid: int) -> ProcessIdentity | None:
    """None when no such process runs; a zombie has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()  # the command's name may hold blanks and parentheses
    if fields[0] in "ZX":
        return None
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ProcessIdentity(pid=pid, start_ticks=int(fields[19]), boot_id=boot_id)


def is_alive(identity: ProcessIdentity) -> bool:
    return identify(identity.pid) == identity


def start(
    state: ClusterState,
    name: str,
    argv: Sequence[str | Path],
    *,
    netns: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    essential: bool = True,
) -> ProcessRecord:
    """Run `argv` in a session of its own, logging to `state.logs/NAME.log`; `env` adds to this process' environment."""
    if is_running(state, name):
        raise ClusterError(f"cluster {state.name}: {name} already runs with pid {state.processes[name].identity.pid}.")
    command = [*netns_prefix(netns), *map(str, argv)]
    state.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = state.logs / f"{name}.log"
    environment = {**_inherited_environment(), **(env or {}), MARKER: str(state.directory)}
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=cwd or state.directory,
            start_new_session=True,
        )
    identity = identify(child.pid)
    if identity is None:
        raise ClusterError(
            f"cluster {state.name}: {name} ended at once with code {child.wait()}.\n{log_tail(state, name)}"
        )
    _children[child.pid] = child
    record = ProcessRecord(identity=identity, argv=command, log=log, netns=netns, essential=essential)
    state.processes.pop(name, None)
    state.processes[name] = record
    state.save()
    return record


def _inherited_environment() -> dict[str, str]:
    """Without proxies: Go's clients would send them what the cluster's parts say to each other."""
    return {name: value for name, value in os.environ.items() if name.lower() not in _PROXY_VARIABLES}


def netns_prefix(netns: str | None) -> list[str]:
    """Argv that runs what follows in a named network namespace.

    Not `ip netns exec`: it remounts /sys, and the kubelet then finds no cgroups.
    """
    return ["nsenter", f"--net=/var/run/netns/{netns}"] if netns else []


def is_running(state: ClusterState, name: str) -> bool:
    record = state.processes.get(name)
    return record is not None and is_alive(record.identity)


def stop(state: ClusterState, name: str, timeout_seconds: float = STOP_SECONDS) -> None:
    """SIGTERM, wait, SIGKILL; forgets the process. Nothing happens when it does not run."""
    record = state.processes.get(name)
    if record is None:
        return
    end(record.identity, timeout_seconds)
    del state.processes[name]
    state.save()


def stop_all(state: ClusterState, timeout_seconds: float = STOP_SECONDS) -> None:
    """Backwards through the starting order, so that the API server ends before etcd; then what was never recorded."""
    for name in reversed(list(state.processes)):
        stop(state, name, timeout_seconds)
    for identity in strays(state.directory):
        end(identity, timeout_seconds)


def end(identity: ProcessIdentity, timeout_seconds: float) -> None:
    """Return once the process is gone. Signals go through a pidfd, so that they never reach a successor of the pid."""
    try:
        descriptor = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return
    try:
        if not is_alive(identity):
            return
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        for number, wait_seconds in ((signal.SIGTERM, timeout_seconds), (signal.SIGKILL, 30.0)):
            try:
                signal.pidfd_send_signal(descriptor, number)
            except ProcessLookupError:
                return
            if poll.poll(wait_seconds * 1000):
                return
        raise ClusterError(f"pid {identity.pid} did not end after SIGKILL; it may wait for a disk or a network mount.")
    finally:
        os.close(descriptor)
        child = _children.get(identity.pid)
        if child is not None and child.poll() is not None:
            del _children[identity.pid]


def strays(directory: Path) -> list[ProcessIdentity]:
    """Processes that carry this cluster's marker, oldest first."""
    wanted = f"{MARKER}={directory}".encode()
    found: list[ProcessIdentity] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # another user's, or gone
            continue
        if wanted in environment and (identity := identify(int(entry.name))) is not None:
            found.append(identity)
    return sorted(found, key=lambda identity: identity.start_ticks)


def log_tail(state: ClusterState, name: str, lines: int = LOG_TAIL_LINES) -> str:
    log = state.logs / f"{name}.log"
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return f"(no log at {log})"
    tail = "\n".join(f"  {line}" for line in text.splitlines()[-lines:])
    return f"last lines of {log}:\n{tail or '  (empty)'}"


def wait_until(
    state: ClusterState,
    ready: Callable[[], bool],
    *,
    what: str,
    needs: Sequence[str],
    timeout_seconds: float,
    interval_seconds: float = 0.2,
) -> None:
    """Poll `ready`; the processes in `needs` must stay alive meanwhile, and the first one is blamed for a time-out."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        for name in needs:
            if not is_running(state, name):
                raise ClusterError(
                    f"cluster {state.name}: {name} ended while waiting until {what}.\n{log_tail(state, name)}"
                )
        if ready():
            return
        if time.monotonic() >= deadline:
            blamed = f"\n{log_tail(state, needs[0])}" if needs else ""
            raise ClusterError(f"cluster {state.name}: {what}: not within {timeout_seconds:.0f} s.{blamed}")
        time.sleep(interval_seconds)
