"""The command line: `python -m tests.cluster prepare | up | down | status | env | load-image | tool`."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import click

from tests.cluster import components, lifecycle, process
from tests.cluster.errors import ClusterError
from tests.cluster.lifecycle import DEFAULT_NAME, Cluster
from tests.cluster.state import ClusterState, Mode, clusters_directory, load_all
from tests.cluster.versions import COMPONENTS

NAME = click.option("--name", default=DEFAULT_NAME, show_default=True, help="Which cluster; several run side by side.")


class Commands(click.Group):
    """What the user can mend is said in one message, with exit code 2 and without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ClusterError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(2)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def main() -> None:
    """Real Kubernetes clusters on this machine, without Docker.

    With KUBECONFIG set, `up` uses that cluster and starts nothing. SLIPWAY_CACHE moves the folder of compiled
    components and of the clusters' state (~/.cache/slipway).
    """


@main.command()
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in Mode]),
    default=Mode.CONTROL_PLANE.value,
    show_default=True,
    help="control-plane: the API and its controllers on loopback, no Pod runs, no root needed. "
    "node: Pods run, images are pulled, Services, DNS and Ingress route; needs root.",
)
@NAME
@click.option("--nodes", type=click.IntRange(1, 2), default=1, show_default=True, help="Node mode: how many nodes.")
@click.option("--gpus", type=click.IntRange(0, 64), default=0, show_default=True, help="Node mode: pretended GPUs.")
def up(mode: str, name: str, nodes: int, gpus: int) -> None:
    """Start a cluster, or say how to talk to the one that runs."""
    if mode == Mode.CONTROL_PLANE and (nodes, gpus) != (1, 0):
        raise click.UsageError("--nodes and --gpus need --mode node: in control-plane mode there is no node.")
    cluster = Cluster.up(name, mode=mode, nodes=nodes, gpus=gpus)
    if cluster.state is None:
        click.echo(f"Using the cluster of KUBECONFIG={cluster.kubeconfig}; nothing is started.")
        return
    click.echo(_describe(cluster.state))
    click.echo(f'To talk to it:  eval "$(python -m tests.cluster env --name {cluster.name})"')


@main.command()
def prepare() -> None:
    """Find, download or compile every program, before something that has to end in time needs one."""
    external = os.environ.get("KUBECONFIG")
    components.ensure_all(["kubectl", "helm", "versitygw"] if external else COMPONENTS)


@main.command()
@NAME
@click.option("--all", "everything", is_flag=True, help="Every cluster of this cache folder.")
def down(name: str, everything: bool) -> None:
    """Stop a cluster and delete its state; also clean up what killed runs left behind."""
    cleaned = lifecycle.clean_abandoned()
    failed = [path.stem for path in clusters_directory().glob("*.failed")]
    names = [*(state.name for state in load_all()), *failed] if everything else [name]
    stopped = [*cleaned, *(each for each in names if lifecycle.down(each))]
    click.echo(f"Stopped: {', '.join(stopped)}" if stopped else "Nothing was running.")


@main.command()
def status() -> None:
    """Show what runs, where its logs are and how to talk to it."""
    if os.environ.get("KUBECONFIG"):
        click.echo(f"KUBECONFIG={os.environ['KUBECONFIG']}: `up`, the tests and the demo use that cluster.\n")
    states = load_all()
    click.echo("\n\n".join(map(_describe, states)) if states else f"No cluster in {clusters_directory()}.")


@main.command()
@NAME
def env(name: str) -> None:
    """Print what a shell needs to talk to a cluster, for `eval "$(…)"`."""
    cluster = Cluster.find(name)
    for variable, value in cluster.environment.items():
        click.echo(f"export {variable}={shlex.quote(value)}")
    click.echo(f'export PATH={shlex.quote(str(cluster.directory / "bin"))}:"$PATH"')


@main.command("load-image")
@click.argument("image")
@NAME
def load_image(image: str, name: str) -> None:
    """Push a local image into the cluster's registry; prints the reference under which Pods pull it."""
    from tests.cluster import loading

    cluster = Cluster.external() if os.environ.get("KUBECONFIG") else Cluster.find(name)
    click.echo(loading.load_image(cluster, image))


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("program", metavar="PROGRAM", type=click.Choice(sorted(COMPONENTS)))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def tool(program: str, arguments: tuple[str, ...]) -> None:
    """Run one of the pinned programs (helm, kubectl, …); it is fetched or built first where it is missing."""
    path = components.ensure(program)
    os.execv(path, [program, *arguments])


def _describe(state: ClusterState) -> str:
    if lifecycle.is_abandoned(state):
        condition = "abandoned by a killed run; the next `up` or `down` cleans it"
    elif lifecycle.is_up(state):
        condition = f"up, belongs to pid {state.owner.pid}" if state.owner else "up"
    else:
        condition = "broken; `up` makes it anew" if state.ready else "being brought up"
    facts = {
        "server": state.server,
        "kubeconfig": state.kubeconfig,
        "registry": state.registry,
        "ingress": state.ingress_address and f"http://{state.ingress_address}",
        "namespace": state.netns and f"nsenter --net=/var/run/netns/{state.netns}",
        "folder": state.directory,
    }
    lines = [f"cluster {state.name} ({state.mode}): {condition}"]
    lines += [f"  {name:<11} {value}" for name, value in facts.items() if value]
    for name, record in state.processes.items():
        running = f"pid {record.identity.pid}" if process.is_alive(record.identity) else "ended"
        lines.append(f"  {name:<24} {running:<12} {_shown_log(record.log, state)}")
    return "\n".join(lines)


def _shown_log(log: Path, state: ClusterState) -> str:
    return f"log {log.relative_to(state.directory)}" if log.is_relative_to(state.directory) else f"log {log}"


if __name__ == "__main__":
    main(prog_name="python -m tests.cluster")
