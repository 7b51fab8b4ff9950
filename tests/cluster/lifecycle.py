"""Bring a whole cluster up, use it, take it down; or use the one that KUBECONFIG names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from pydantic import JsonValue

from tests.cluster import components, control_plane, node, ports, process
from tests.cluster.errors import ClusterError
from tests.cluster.machine import mounts_below
from tests.cluster.state import (
    STATE_FILE,
    ClusterState,
    Mode,
    ProcessRecord,
    allocation_lock,
    cluster_directory,
    cluster_lock,
    load,
    load_all,
)

DEFAULT_NAME: Final = "default"
TOOLS: Final = ("kubectl", "helm")
KUBECTL_SECONDS: Final = 300.0


@dataclass(frozen=True)
class Cluster:
    """How to talk to one cluster. `state` is None for a cluster that this tool did not start."""

    name: str
    kubeconfig: Path
    state: ClusterState | None = None
    registry: str | None = None
    """ADDRESS:PORT where images are pushed and from where the cluster pulls them."""
    ingress_address: str | None = None
    node_address: str | None = None

    @classmethod
    def up(
        cls,
        name: str = DEFAULT_NAME,
        *,
        mode: str = Mode.CONTROL_PLANE,
        nodes: int = 1,
        gpus: int = 0,
        owned: bool = False,
        audit_rules: Sequence[dict[str, JsonValue]] = (),
    ) -> Self:
        """What KUBECONFIG names, else the running cluster of this name and mode, else a new one.

        `gpus` is per node. With `owned` the cluster is abandoned, and cleaned by whoever comes next, once this
        process is gone. `audit_rules` of a new one: what its audit log tells besides.
        """
        if os.environ.get("KUBECONFIG"):
            return cls.external()
        clean_abandoned()
        with cluster_lock(name):
            state = load(name)
            if state is not None and is_up(state):
                _refuse_other_shape(state, Mode(mode), nodes, gpus)
            else:
                if state is not None:
                    take_down(state)
                state = _create(name, Mode(mode), nodes, gpus, audit_rules)
                _bring_up(state, owned=owned)
        return cls.of(state)

    @classmethod
    def external(cls) -> Self:
        """The cluster of KUBECONFIG: nothing is started or stopped there. SLIPWAY_REGISTRY says where images go."""
        kubeconfig = Path(os.environ["KUBECONFIG"]).expanduser()
        if not kubeconfig.is_file():
            raise ClusterError(f"KUBECONFIG={kubeconfig}: no such file. Unset it to use a local cluster.")
        for state in load_all():
            if state.kubeconfig == kubeconfig.resolve():
                return cls.of(state)
        return cls(
            name="external",
            kubeconfig=kubeconfig,
            registry=os.environ.get("SLIPWAY_REGISTRY"),
            ingress_address=os.environ.get("SLIPWAY_INGRESS_ADDRESS"),
        )

    @classmethod
    def find(cls, name: str = DEFAULT_NAME) -> Self:
        """The running local cluster of this name."""
        state = load(name)
        if state is None or not is_up(state):
            raise ClusterError(
                f"cluster {name}: does not run. Start it with `python -m tests.cluster up --name {name}`."
            )
        return cls.of(state)

    @classmethod
    def of(cls, state: ClusterState) -> Self:
        return cls(
            name=state.name,
            kubeconfig=state.kubeconfig,
            state=state,
            registry=state.registry,
            ingress_address=state.ingress_address,
            node_address=state.node_address,
        )

    @property
    def directory(self) -> Path:
        """The cluster's own folder, deleted with it."""
        return self._local().directory

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs, beside this process' environment, to talk to the cluster and never to a proxy."""
        found = {"KUBECONFIG": str(self.kubeconfig)}
        if self.registry:
            found["SLIPWAY_REGISTRY"] = self.registry
        if self.state is not None:
            ranges = (self.state.api_host, self.state.address_range, os.environ.get("NO_PROXY"))
            found["NO_PROXY"] = found["no_proxy"] = ",".join(item for item in ranges if item)
        return found

    def down(self) -> None:
        """Nothing happens to a cluster that this tool did not start."""
        if self.state is not None:
            down(self.name)

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout_seconds: float = KUBECTL_SECONDS) -> str:
        """Standard output; a refusal is raised with what kubectl said."""
        command = [str(components.ensure("kubectl")), *arguments]
        if self.state is not None:
            command.insert(1, f"--cache-dir={self.directory / 'kubectl'}")
        environment = {**os.environ, **self.environment}
        try:
            answer = subprocess.run(
                command,
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                text=True,
                env=environment,
                timeout=timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"kubectl {' '.join(arguments)}: no end within {timeout_seconds:.0f} s.") from error
        if answer.returncode != 0:
            raise ClusterError(f"kubectl {' '.join(arguments)}: {answer.stderr.strip()}")
        return answer.stdout

    def run_on_node(
        self, name: str, argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None
    ) -> ProcessRecord:
        """Start a process on the first node's network; it is stopped with the cluster. Logs to log/NAME.log."""
        state = self._local()
        with cluster_lock(self.name):
            current = load(self.name) or state
            record = process.start(current, name, argv, netns=current.netns, env=env, essential=False)
        state.processes[name] = record
        return record

    def restart_api_server(self) -> None:
        """Stop the API server and start it again; every watch breaks, and nothing is lost."""
        state = self._local()
        with cluster_lock(self.name):
            current = load(self.name) or state
            control_plane.restart_apiserver(current)
        state.processes = current.processes

    def _local(self) -> ClusterState:
        if self.state is None:
            raise ClusterError(f"the cluster of KUBECONFIG={self.kubeconfig} was not started here: it has no folder.")
        return self.state


def is_up(state: ClusterState) -> bool:
    essential = [record for record in state.processes.values() if record.essential]
    return state.ready and all(process.is_alive(record.identity) for record in essential)


def is_abandoned(state: ClusterState) -> bool:
    """Its owner died, in the middle of `up` or of a test run."""
    return state.owner is not None and not process.is_alive(state.owner)


def clean_abandoned() -> list[str]:
    """Take down what killed runs left behind, and only that; returns the names."""
    cleaned: list[str] = []
    for name in [state.name for state in load_all() if is_abandoned(state)]:
        try:
            with cluster_lock(name, wait_seconds=0):
                state = load(name)
                if state is not None and is_abandoned(state):
                    take_down(state)
                    cleaned.append(name)
        except ClusterError as error:
            print(f"cluster {name}: left as it is: {error}", file=sys.stderr)
    return cleaned


def down(name: str) -> bool:
    """False when there is no such cluster."""
    with cluster_lock(name):
        shutil.rmtree(kept_logs(name), ignore_errors=True)
        state = load(name)
        if state is None:
            return False
        take_down(state)
        return True


def take_down(state: ClusterState) -> None:
    """Stop every process, then delete the folder. The caller holds the cluster's lock."""
    if state.mode is Mode.NODE:
        node.take_down(state)
    process.stop_all(state)
    _delete_folder(state.directory)


def _refuse_other_shape(state: ClusterState, mode: Mode, nodes: int, gpus: int) -> None:
    wanted, running = (mode, nodes, gpus), (state.mode, state.nodes, state.gpus_per_node)
    if wanted != running:
        shapes = ["mode {}, {} node(s), {} GPU(s) each".format(*shape) for shape in (running, wanted)]
        raise ClusterError(
            f"cluster {state.name}: runs as {shapes[0]}; asked for {shapes[1]}. "
            f"Take it down first (`python -m tests.cluster down --name {state.name}`), or choose another --name."
        )


def _create(name: str, mode: Mode, nodes: int, gpus: int, audit_rules: Sequence[dict[str, JsonValue]]) -> ClusterState:
    if mode is Mode.NODE:
        node.prepare()  # before minutes go into compiling what could not run here
    components.ensure_all(components.NODE if mode is Mode.NODE else components.CONTROL_PLANE)
    owner = process.identify(os.getpid())
    state = ClusterState(
        name=name,
        mode=mode,
        directory=cluster_directory(name),
        owner=owner,
        nodes=nodes,
        gpus_per_node=gpus,
        audit_rules=list(audit_rules),
    )
    with allocation_lock():
        _allocate(state)
        state.save()
    return state


def _allocate(state: ClusterState) -> None:
    others = load_all()
    if state.mode is Mode.CONTROL_PLANE:
        numbers = ports.free_ports(len(control_plane.PORT_NAMES), ports.ports_in_use(others))
        state.ports = dict(zip(control_plane.PORT_NAMES, numbers, strict=True))
        return
    plan = ports.free_plan(ports.networks_in_use(others))
    state.ports = dict(control_plane.USUAL_PORTS)
    state.netns = f"slipway-{state.tag}"
    state.address_range = str(plan.whole)
    state.node_ranges = [str(network) for network in plan.node_networks[: state.nodes]]
    state.service_range, state.pod_range = str(plan.services), str(plan.pods)
    state.node_address = state.api_host = str(plan.node_networks[0][1])


def _bring_up(state: ClusterState, *, owned: bool) -> None:
    try:
        if state.mode is Mode.NODE:
            node.bring_up(state)
        else:
            control_plane.start(state)
        _link_tools(state)
        state.ready = True
        state.owner = state.owner if owned else None
        state.save()
    except BaseException:  # also an interrupt: nothing may be left running
        kept = _keep_logs(state)
        take_down(state)
        print(f"cluster {state.name}: taken down again; its logs are kept in {kept}", file=sys.stderr)
        raise


def _link_tools(state: ClusterState) -> None:
    """A folder for PATH with the tools in their right versions."""
    folder = state.directory / "bin"
    folder.mkdir(exist_ok=True)
    for name in TOOLS:
        program = components.find(name)
        if program is not None:
            link = folder / name
            link.unlink(missing_ok=True)
            link.symlink_to(program)


def kept_logs(name: str) -> Path:
    """Where the logs of an `up` that failed lie until the next `down`."""
    return cluster_directory(name).with_suffix(".failed")


def _keep_logs(state: ClusterState) -> Path:
    kept = kept_logs(state.name)
    shutil.rmtree(kept, ignore_errors=True)
    if state.logs.exists():
        shutil.copytree(state.logs, kept)
    return kept


def _delete_folder(directory: Path) -> None:
    """The state file goes last, so that a deletion that was interrupted is taken up again."""
    below = mounts_below(directory, Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    if below:
        raise ClusterError(f"{directory}: not deleted, because {below[0]} is still mounted in it. Unmount it first.")
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != STATE_FILE:
            entry.unlink()
    shutil.rmtree(directory)
