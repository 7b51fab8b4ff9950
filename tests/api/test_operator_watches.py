"""The way to the API server breaks, falls silent or is cut: nothing is missed, and nothing is done twice."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.cluster import control_plane as components
from tests.cluster import process
from tests.cluster.lifecycle import Cluster
from tests.fixtures.grants import grant, write_kubeconfig
from tests.fixtures.objects import Objects
from tests.fixtures.operator import Models, OperatorProcess
from tests.fixtures.proxy import Proxy

pytestmark = pytest.mark.api

QUICK = {
    "SLIPWAY_LEASE_DURATION_SECONDS": "6",
    "SLIPWAY_LEASE_RENEW_DEADLINE_SECONDS": "4",
    "SLIPWAY_LEASE_RETRY_SECONDS": "1",
}
INACTIVITY_SECONDS = 70
"""After so long without so much as a bookmark a watch is begun anew."""


@dataclass(frozen=True)
class Link:
    """An operator and the only way it has to the API server."""

    proxy: Proxy
    operator: OperatorProcess


@pytest.fixture
def link(cluster: Cluster, objects: Objects, crd: str, tmp_path: Path) -> Iterator[Link]:
    if cluster.state is None:
        pytest.skip("the way to the API server of KUBECONFIG is not ours to break; unset it")
    grant(objects, namespaces=(objects.namespace,))
    with Proxy(cluster.state.ports["apiserver"]) as proxy:
        path = write_kubeconfig(objects, tmp_path / "link.kubeconfig", server=f"https://127.0.0.1:{proxy.port}")
        operator = OperatorProcess(path, objects.namespace, tmp_path / "link.log", objects.namespace)
        yield Link(proxy, operator)
        operator.kill()


def serve(link: Link, models: Models, **environment: str) -> None:
    link.operator.start(**environment)
    models.create()
    models.wait_condition("Accepted", "True", "Valid")
    link.operator.settle()


def test_connections_that_break_are_made_again_and_nothing_is_missed(
    link: Link, models: Models, objects: Objects
) -> None:
    serve(link, models)
    for _ in range(3):
        link.proxy.drop()
        objects.delete("service", "digits")
        objects.wait_for("service", "digits", lambda found: True, what="made anew")
    models.change(replicas=2)
    models.wait_pods(2)
    link.operator.settle()
    assert link.operator.metric("lease_transitions") == 0


@pytest.mark.timeout(240)
def test_a_watch_that_falls_silent_is_found_out_and_what_it_did_not_tell_is_done(
    link: Link, models: Models, objects: Objects
) -> None:
    serve(link, models)
    link.proxy.deafen()
    objects.delete("service", "digits")
    objects.wait_for("service", "digits", lambda found: True, what="made anew", timeout_seconds=INACTIVITY_SECONDS + 30)
    assert link.operator.process is not None
    assert link.operator.process.poll() is None


def test_an_outage_longer_than_the_lease_holds_writes_back_and_restarts_nothing(
    link: Link, models: Models, objects: Objects
) -> None:
    serve(link, models, **QUICK)
    link.proxy.refuse()
    models.change(replicas=2)
    objects.delete("service", "digits")
    wait_until_fenced(link.operator)
    assert link.operator.fetch("/healthz") == (200, "ok\n")
    assert link.operator.fetch("/readyz")[0] == 200
    time.sleep(4)
    link.proxy.resume()
    models.wait_pods(2)
    objects.wait_for("service", "digits", lambda found: True, what="made anew")
    assert link.operator.metric("leader") == 1
    assert link.operator.metric("lease_transitions") == 0
    link.operator.settle()


def test_what_was_deleted_while_the_api_server_restarted_is_known_after_it(
    cluster: Cluster, link: Link, models: Models, objects: Objects
) -> None:
    """Its memory of changes is gone, so the watches get 410 and are begun anew; deletions are told by nobody."""
    assert cluster.state is not None
    serve(link, models)
    models.create("gone")
    models.wait_condition("Accepted", "True", "Valid", "gone")
    link.operator.settle()
    link.proxy.refuse()
    objects.kubectl("delete", "modeldeployment", "gone", "--wait")
    objects.wait_gone("deployment", "gone")
    objects.delete("service", "digits")
    process.stop(cluster.state, "kube-apiserver", timeout_seconds=1)
    components.start_apiserver(cluster.state)
    link.proxy.resume()
    objects.wait_for("service", "digits", lambda found: True, what="made anew", timeout_seconds=40)
    link.operator.wait("ok: leading")
    link.operator.settle()
    assert objects.get("deployment", "gone") is None
    assert objects.get("service", "gone") is None
    assert link.operator.process is not None
    assert link.operator.process.poll() is None


def test_a_holder_that_is_cut_off_is_replaced_and_ends_when_it_finds_out(
    link: Link, cluster: Cluster, models: Models, objects: Objects, tmp_path: Path
) -> None:
    direct = write_kubeconfig(objects, tmp_path / "direct.kubeconfig")
    other = replace(link.operator, kubeconfig=direct, identity="operator-b", log=tmp_path / "other.log")
    try:
        serve(link, models, **QUICK)
        other.start(until="ok: standby", **QUICK)
        link.proxy.freeze()
        models.change(replicas=2)
        other.wait("ok: leading", timeout_seconds=20)
        models.wait_pods(2)
        other.settle()
        link.proxy.resume()
        assert link.operator.process is not None
        assert link.operator.process.wait(timeout=20) == 3
        link.operator.process = None
        assert other.metric("leader") == 1
        other.settle()
        assert other.stop(signal.SIGTERM) == 0
    finally:
        other.kill()


def wait_until_fenced(operator: OperatorProcess) -> None:
    deadline = time.monotonic() + 20
    while operator.metric("leader") == 1:
        assert time.monotonic() < deadline, operator.log.read_text()
        time.sleep(0.2)
