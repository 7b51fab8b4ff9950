"""`python -m benchmarks`: measure, and write the page."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import click

from benchmarks import environments, machine, models, selfcheck
from benchmarks import profile as profiling
from benchmarks.failure import BenchmarkError, ServerError
from benchmarks.page import page, table
from benchmarks.peers import Peer, Role, read_peers
from benchmarks.places import PAGE, ROOT, cache
from benchmarks.results import Participant, Results
from benchmarks.suite import Effort, Suite
from benchmarks.workloads import WORKLOADS

SECTIONS: Final = ("compare", "open", "workers", "memory", "growth", "generator")


class Words(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Comma-separated names out of those that are allowed."""

    name = "names"

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self._allowed = allowed

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        names = tuple(str(value).split(","))
        unknown = [name for name in names if name not in self._allowed]
        if unknown:
            self.fail(f"{', '.join(unknown)}: expected some of {', '.join(self._allowed)}", param, ctx)
        return names


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def cli(context: click.Context) -> None:
    """Compare the runtime with other servers on this machine. Without a command: run."""
    if context.invoked_subcommand is None:
        context.invoke(run)


@cli.command()
@click.option("--only", type=Words(tuple(read_peers())), help="Servers, by folder; default: all.")
@click.option("--workloads", type=Words(tuple(WORKLOADS)), default=",".join(WORKLOADS), show_default=True)
@click.option("--sections", type=Words(SECTIONS), default=",".join(SECTIONS), show_default=True)
@click.option("--rounds", type=click.IntRange(1, 50), default=3, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.2, 60), default=2.0, show_default=True, help="Of each window.")
@click.option("--warmup", type=click.FloatRange(0, 60), default=0.7, show_default=True, help="Seconds before each.")
@click.option("--growth-requests", type=click.IntRange(10, 10_000_000), default=100_000, show_default=True)
@click.option("--page", "target", type=click.Path(path_type=Path), default=PAGE, show_default=True)
def run(
    only: tuple[str, ...] | None = None,
    workloads: tuple[str, ...] = tuple(WORKLOADS),
    sections: tuple[str, ...] = SECTIONS,
    rounds: int = 3,
    seconds: float = 2.0,
    warmup: float = 0.7,
    growth_requests: int = 100_000,
    target: Path = PAGE,
) -> None:
    """Measure, keep every sample as JSON in the cache, and write the page."""
    machine.check_programs()
    peers = [peer for name, peer in read_peers().items() if only is None or name in only]
    results = Results(
        date=datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%d %H:%M UTC"),
        commit=_commit(),
        machine=str(machine.describe()),
        placement=str(machine.one_core(machine.usable())),
        rounds=rounds,
        seconds=seconds,
        packages={"torch": version("torch"), "numpy": version("numpy")},
    )
    suite = Suite(
        _installed(peers, results), models.prepare(), Effort(rounds, seconds, warmup, growth_requests), results
    )
    kept = cache() / "results" / f"{results.date.replace(' ', '-').replace(':', '')}.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    try:
        _measure(suite, workloads, sections)
    finally:
        kept.write_text(results.model_dump_json(indent=1))
        click.echo(f"All samples: {kept}", err=True)
    target.write_text(page(results))
    click.echo(f"Written: {target}", err=True)


def _measure(suite: Suite, workloads: tuple[str, ...], sections: tuple[str, ...]) -> None:
    if "generator" in sections:
        suite.results.generator_requests_per_second = selfcheck.ceiling(suite.models["mlp"])
    for workload in workloads:
        if "compare" in sections:
            suite.compare(workload, open_loop="open" in sections)
        if "workers" in sections:
            suite.compare_workers(workload)
    if "memory" in sections:
        suite.weigh()
    if "growth" in sections:
        suite.grow()


def _installed(peers: list[Peer], results: Results) -> list[Peer]:
    """Those whose environment is there; the others are named with their reason."""
    installed = []
    for peer in peers:
        found = ""
        try:
            if reason := peer.missing():
                raise ServerError(reason)
            python = environments.python_of(peer)
            if peer.distribution:
                found = environments.versions_of(python, (peer.distribution,)).get(peer.distribution, "")
            installed.append(peer)
        except ServerError as error:
            results.absent[peer.name] = {"all": str(error)}
        shown = found if peer.role is not Role.FLOOR else ""
        results.participants[peer.name] = Participant(title=peer.title, role=peer.role, version=shown, note=peer.note)
    return installed


def _commit() -> str:
    process = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return process.stdout.strip()


@cli.command("page")
@click.argument("results", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--page", "target", type=click.Path(path_type=Path), default=PAGE, show_default=True)
def write_page(results: tuple[Path, ...], target: Path) -> None:
    """Write the page again from kept RESULTS; of several, the later ones replace what they measured again."""
    first, *others = (Results.model_validate_json(path.read_text()) for path in results)
    for other in others:
        first.merge(other)
    target.write_text(page(first))


@cli.command()
@click.option("--workload", type=click.Choice(list(WORKLOADS)), default="mlp", show_default=True)
@click.option("--wire", type=click.Choice(["json", "binary"]), default="json", show_default=True)
@click.option("--connections", type=click.IntRange(1, 1024), default=64, show_default=True)
@click.option("--seconds", type=click.IntRange(1, 120), default=8, show_default=True)
@click.option("--lines", type=click.IntRange(1, 200), default=25, show_default=True)
@click.option("--server", type=click.Choice(list(read_peers())), default="slipway", show_default=True)
def profile(workload: str, wire: str, connections: int, seconds: int, lines: int, server: str) -> None:
    """Sample a server under load and print where its time goes (py-spy; needs root or ptrace)."""
    shares = profiling.record(read_peers()[server], models.prepare()[workload], wire, connections, seconds)
    rows = [[share.where, f"{share.own:.1%}", f"{share.whole:.1%}"] for share in shares[:lines]]
    click.echo(table(["function", "own", "with what it calls"], rows, "lrr"))


@cli.command()
def micro() -> None:
    """What one request costs inside the runtime's process, part by part and without sockets."""
    from benchmarks import micro as costs

    rows = [[part, f"{microseconds:.2f}"] for part, microseconds in costs.main()]
    click.echo(table(["part", "µs per request"], rows, "lr"))


@cli.command("list")
def list_peers() -> None:
    """The servers that take part."""
    for peer in read_peers().values():
        missing = peer.missing()
        click.echo(f"{peer.name:<18} {peer.role:<8} {peer.title}{f' ({missing})' if missing else ''}")


@cli.command()
@click.argument("names", nargs=-1)
def lock(names: tuple[str, ...]) -> None:
    """Pin the newest allowed versions of the named servers' packages, or of all of them."""
    for name, peer in read_peers().items():
        if peer.environment == "own" and name == peer.folder and (not names or name in names):
            environments.lock(peer)
            click.echo(f"{name}: locked")


def main() -> None:
    try:
        cli()
    except (BenchmarkError, ServerError) as error:
        click.echo(f"benchmarks: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore::FutureWarning")
    main()
