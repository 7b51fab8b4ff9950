"""python -m tests.scale --objects 2000: measure the operator on a real API server and hold it to its budgets."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.cluster.errors import ClusterError
from tests.cluster.lifecycle import Cluster
from tests.fixtures.apiserver import ApiServer, ApiServerError
from tests.fixtures.crds import install
from tests.fixtures.kubelet import Kubelet
from tests.fixtures.objects import Objects
from tests.fixtures.operator import OperatorProcess, operator_process
from tests.scale import page
from tests.scale.bench import SWEEP_SECONDS, Bench, Tell
from tests.scale.figures import Figures, missed, table
from tests.scale.machine import description
from tests.scale.world import PER_NAMESPACE, ScaleError, Tracker, keys, make_namespaces

FEWEST, MOST = 100, 5000
_HOME = "slipway-system"


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    if not FEWEST <= given.objects <= MOST:
        print(f"--objects: got {given.objects}, expected a number from {FEWEST} to {MOST}.", file=sys.stderr)
        return 2
    if os.environ.get("KUBECONFIG"):
        print("KUBECONFIG is set: the figures need a control plane of their own. Unset it.", file=sys.stderr)
        return 2
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {text}", flush=True)

    try:
        found = _run(given, tell)
    except (ScaleError, ClusterError, ApiServerError) as error:
        print(f"the run was not brought to its end: {error}", file=sys.stderr)
        return 1
    print(f"\n{table(found)}\n")
    if given.write:
        page.write(found, description())
        tell(f"written into {page.PAGE.relative_to(Path.cwd())}")
    for text in missed(found):
        print(f"BUDGET MISSED: {text}", file=sys.stderr)
    return 1 if missed(found) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make scale ARGS=…", description=__doc__)
    parser.add_argument("--objects", type=int, default=2000, help="ModelDeployments, %(default)s unless told")
    parser.add_argument(
        "--writes-per-second", type=float, default=50, help="the operator's limit, %(default)s unless told"
    )
    parser.add_argument("--rest-seconds", type=float, default=60, help="of the window at rest, %(default)s unless told")
    parser.add_argument("--edits", type=int, default=50, help="edits that are timed, %(default)s unless told")
    parser.add_argument("--sweeps", type=int, default=3, help="full sweeps that are weighed, %(default)s unless told")
    parser.add_argument(
        "--no-write", dest="write", action="store_false", help="leave docs/scale.md as it is; print only"
    )
    parser.add_argument("--keep-logs", type=Path, help="a folder for the operators' logs")
    return parser


def _run(given: argparse.Namespace, tell: Tell) -> Figures:
    cluster = Cluster.up(f"scale-{os.getpid()}", owned=True)
    try:
        with tempfile.TemporaryDirectory(prefix="slipway-scale-") as folder:
            return asyncio.run(_measure(given, cluster, given.keep_logs or Path(folder), tell))
    finally:
        cluster.down()


async def _measure(given: argparse.Namespace, cluster: Cluster, folder: Path, tell: Tell) -> Figures:
    assert cluster.state is not None
    install(cluster)
    found = Figures(given.objects, given.writes_per_second, SWEEP_SECONDS)
    namespaces = [f"models-{number:02d}" for number in range(-(-given.objects // PER_NAMESPACE))]
    async with ApiServer(cluster.state) as api, asyncio.TaskGroup() as group:
        await make_namespaces(api, [_HOME, *namespaces])
        first = operator_process(cluster, Objects(cluster, _HOME), folder, cluster_wide=True)
        first.environment["SLIPWAY_WRITES_PER_SECOND"] = str(given.writes_per_second)
        operators = [first, _second(first, folder)]
        tracker = Tracker(api)
        tasks = [group.create_task(Kubelet(api).run()), group.create_task(tracker.models())]
        bench = Bench(api, operators[0], tracker, keys(given.objects, namespaces), found, tell)
        try:
            await asyncio.to_thread(operators[0].start)
            tell(f"the operator runs; {given.objects} objects come")
            await bench.converge()
            tell(f"converged after {found.converged_seconds:.0f} s with {found.writes_per_object:.2f} writes each")
            await bench.rest(given.rest_seconds)
            await bench.edits(given.edits)
            await bench.resync(given.sweeps)
            await bench.take_over(operators[1])
        finally:
            for task in tasks:
                task.cancel()
            for operator in operators:
                with contextlib.suppress(Exception):
                    operator.kill()
    return found


def _second(first: OperatorProcess, folder: Path) -> OperatorProcess:
    return replace(first, log=folder / "operator-2.log", identity="operator-b", environment=dict(first.environment))


if __name__ == "__main__":
    sys.exit(main())
