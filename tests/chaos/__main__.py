"""python -m tests.chaos --seeds 200: disorder by seeds on a real API server, and what the operator makes of it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from slipway_operator.resources import Resource
from tests.chaos.audit import RULES, AuditLog
from tests.chaos.faults import COLLECTED, Faults
from tests.chaos.group import GROUP, SECONDS, Outcome, groups, run_group
from tests.cluster.control_plane import audit_log
from tests.cluster.errors import ClusterError
from tests.cluster.lifecycle import Cluster
from tests.fixtures.apiserver import NAMESPACE, ApiServer
from tests.fixtures.crds import install
from tests.fixtures.grants import IDENTITY, write_kubeconfig
from tests.fixtures.kubelet import Kubelet
from tests.fixtures.objects import Objects
from tests.fixtures.operator import OperatorProcess, operator_process
from tests.fixtures.proxy import Proxy
from tests.scale.machine import description
from tests.scale.page import with_block
from tests.scale.samples import percentile

PUBLISHED_SEEDS = 200
"""From so many on a run is worth the page."""
PAGE = Path(__file__).parents[2] / "docs" / "chaos.md"
_HOME = "slipway-system"
_LEASE = {
    # Short, so that an operator that was killed is missed for seconds.
    "SLIPWAY_LEASE_DURATION_SECONDS": "3",
    "SLIPWAY_LEASE_RENEW_DEADLINE_SECONDS": "2",
    "SLIPWAY_LEASE_RETRY_SECONDS": "0.5",
}

Tell = Callable[[str], None]


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    given.seeds = given.seeds or (PUBLISHED_SEEDS if given.seed is None else 1)
    if given.seeds < 0 or (given.seed is not None and given.seed < 0):
        print("--seed and --seeds: expected no negative number.", file=sys.stderr)
        return 2
    if os.environ.get("KUBECONFIG"):
        print("KUBECONFIG is set: disorder needs a control plane of its own. Unset it.", file=sys.stderr)
        return 2
    first = random.randrange(10**6) * 10 if given.seed is None else given.seed
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {text}", flush=True)

    try:
        with tempfile.TemporaryDirectory(prefix="slipway-chaos-") as folder:
            directory = given.keep_logs or Path(folder)
            directory.mkdir(parents=True, exist_ok=True)
            outcomes = run(groups(first, given.seeds), given.seconds, directory, tell)
    except ClusterError as error:
        print(f"the run was not brought to its end: {error}", file=sys.stderr)
        return 1
    print(summary(outcomes, time.monotonic() - began))
    if given.write and len(outcomes) >= PUBLISHED_SEEDS and all(outcome.passed for outcome in outcomes):
        PAGE.write_text(
            with_block(PAGE.read_text(encoding="utf-8"), "figures", figures(outcomes, time.monotonic() - began)),
            encoding="utf-8",
        )
        tell(f"written into {PAGE.relative_to(Path.cwd())}")
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make chaos ARGS=…", description=__doc__)
    parser.add_argument("--seeds", type=int, default=None, help="how many; 200, or the one that --seed names")
    parser.add_argument("--seed", type=int, default=None, help="the first one; a random one unless told")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of disorder for each, %(default)s unless told")
    parser.add_argument(
        "--no-write", dest="write", action="store_false", help="leave docs/chaos.md as it is after a good run"
    )
    parser.add_argument("--keep-logs", type=Path, help="a folder for the operators' logs")
    return parser


def run(planned: list[list[int]], seconds: float, folder: Path, tell: Tell) -> list[Outcome]:
    """On a control plane of its own."""
    cluster = Cluster.up(f"chaos-{os.getpid()}", owned=True, audit_rules=RULES)
    try:
        return asyncio.run(_run(cluster, planned, seconds, folder, tell))
    finally:
        cluster.down()


async def _run(cluster: Cluster, planned: list[list[int]], seconds: float, folder: Path, tell: Tell) -> list[Outcome]:
    state = cluster.state
    assert state is not None
    await asyncio.to_thread(install, cluster)
    outcomes: list[Outcome] = []
    audit = AuditLog(audit_log(state))
    async with ApiServer(state) as api, asyncio.TaskGroup() as group:
        await api.create(NAMESPACE, None, {"metadata": {"name": _HOME}})
        with Proxy(state.ports["apiserver"]) as proxy:
            disorder = await asyncio.to_thread(_disorder, cluster, proxy, folder)
            await _grant_leases(api)
            await asyncio.to_thread(disorder.operator.start, until=None)
            tasks = [group.create_task(Kubelet(api).run()), group.create_task(disorder.supervise())]
            try:
                for seeds in planned:
                    outcomes += await run_group(api, audit, disorder, seeds, seconds, tell)
                    _tell_progress(outcomes, len(planned) * len(seeds), len(seeds), tell)
            finally:
                for task in tasks:
                    task.cancel()
                for operator in (disorder.operator, disorder.second, disorder.standby):
                    with contextlib.suppress(ProcessLookupError):
                        operator.kill()
    return outcomes


def _disorder(cluster: Cluster, proxy: Proxy, folder: Path) -> Faults:
    """Both operators reach the API server through the proxy."""
    first = operator_process(cluster, Objects(cluster, _HOME), folder, cluster_wide=True)
    write_kubeconfig(Objects(cluster, _HOME), first.kubeconfig, server=f"https://127.0.0.1:{proxy.port}")
    first.environment |= _LEASE
    return Faults(cluster, proxy, first, _other(first, "second", SLIPWAY_LEASE_NAME="second"), _other(first, "standby"))


def _other(first: OperatorProcess, name: str, **environment: str) -> OperatorProcess:
    log = first.log.with_name(f"{name}.log")
    return replace(first, log=log, identity=name, environment=first.environment | environment)


async def _grant_leases(api: ApiServer) -> None:
    """The second operator's Lease has another name than the one that the operator may write."""
    group = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}]
    reference = {"apiGroup": group, "kind": "Role", "name": "leases"}
    subjects = [{"kind": "ServiceAccount", "name": IDENTITY, "namespace": _HOME}]
    for kind, plural, content in (
        ("Role", "roles", {"rules": rules}),
        ("RoleBinding", "rolebindings", {"roleRef": reference, "subjects": subjects}),
    ):
        metadata = {"namespace": _HOME, "name": "leases"}
        await api.create(Resource(group, "v1", kind, plural), _HOME, {"metadata": metadata} | content)


def _tell_progress(outcomes: list[Outcome], planned: int, latest: int, tell: Tell) -> None:
    for outcome in outcomes[-latest:]:
        if not outcome.passed:
            print(outcome.text(), flush=True)
    longest = max(outcome.settled_seconds for outcome in outcomes[-latest:])
    failed = sum(not outcome.passed for outcome in outcomes)
    tell(f"{len(outcomes)} of {planned} seeds, {failed} failed; settled within {longest:.0f} s")


def summary(outcomes: list[Outcome], seconds: float) -> str:
    failed = [outcome.seed for outcome in outcomes if not outcome.passed]
    lines = [
        f"{len(outcomes)} seeds from {outcomes[0].seed} to {outcomes[-1].seed} in {seconds:.0f} s:"
        f" {sum(len(outcome.book.told) for outcome in outcomes)} acts, {len(failed)} seeds failed",
        f"{creations(outcomes)}.",
    ]
    return "\n".join(lines + [f'replay: make chaos ARGS="--seed {seed}"' for seed in failed])


def creations(outcomes: list[Outcome]) -> str:
    """By the API server's audit log."""
    created, again, unanswered = (
        sum(numbers)
        for numbers in zip(
            *(
                (outcome.account.created, outcome.account.created_again, outcome.account.unanswered)
                for outcome in outcomes
            ),
            strict=True,
        )
    )
    return (
        f"{created} children were created, {again} of them after the one before of the same name and owner had been"
        f" deleted; {unanswered} requests were cut off before their answer"
    )


def figures(outcomes: list[Outcome], seconds: float) -> str:
    """What a good run is told by in docs/chaos.md."""
    settled = sorted(outcome.settled_seconds for outcome in outcomes)
    told = [text for outcome in outcomes[::GROUP] for text in outcome.faults]
    helped = sum(text == COLLECTED for text in told)
    acts = sum(len(outcome.book.told) for outcome in outcomes)
    return (
        f"The last recorded run: {len(outcomes)} seeds from {outcomes[0].seed} on, all of them right again;"
        f" {acts} acts and {len(told) - helped} faults in {seconds / 60:.0f} minutes."
        f" All was right {percentile(settled, 0.5):.0f} s after the last fault in the median and {settled[-1]:.0f} s"
        f" at most; the garbage collector had to be started anew after {helped} of {len(outcomes[::GROUP])} groups."
        f" {creations(outcomes)}.\n\nOn {description()}."
    )


if __name__ == "__main__":
    sys.exit(main())
