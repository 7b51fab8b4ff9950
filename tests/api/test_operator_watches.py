"""The way to the API server breaks, falls silent or is cut: nothing is missed, and nothing is done twice."""

from __future__ import annotations

import http.client
import json
import signal
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.cluster import control_plane as components
from tests.cluster import process
from tests.cluster.lifecycle import Cluster
from tests.fixtures.grants import IDENTITY, grant, write_kubeconfig
from tests.fixtures.objects import Manifest, Objects
from tests.fixtures.operator import Models, OperatorProcess
from tests.fixtures.proxy import Proxy
from tests.fixtures.waiting import WAIT_SECONDS, wait_until

pytestmark = pytest.mark.api

QUICK = {
    "SLIPWAY_LEASE_DURATION_SECONDS": "6",
    "SLIPWAY_LEASE_RENEW_DEADLINE_SECONDS": "4",
    "SLIPWAY_LEASE_RETRY_SECONDS": "1",
}
FAIRNESS = "flowcontrol.apiserver.k8s.io/v1"
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


def test_a_watch_that_falls_silent_is_found_out_and_what_it_did_not_tell_is_done(
    link: Link, models: Models, objects: Objects
) -> None:
    serve(link, models)
    link.proxy.deafen()
    objects.delete("service", "digits")
    objects.wait_for(
        "service", "digits", lambda found: True, what="made anew", timeout_seconds=INACTIVITY_SECONDS + WAIT_SECONDS
    )
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
    """Its memory of changes is gone, so the watches get 410 Gone and are begun anew; deletions are told by nobody."""
    assert cluster.state is not None
    serve(link, models)
    models.create("gone")
    models.wait_condition("Accepted", "True", "Valid", "gone")
    link.operator.settle()
    service = objects.get("service", "digits")
    assert service is not None
    link.proxy.refuse()
    objects.kubectl("delete", "modeldeployment", "gone", "--wait")
    objects.wait_collected("deployment", "gone")
    objects.delete("service", "digits")
    process.stop(cluster.state, "kube-apiserver", timeout_seconds=1)
    components.start_apiserver(cluster.state)
    # No change since then is known to the server that runs now.
    assert first_event(objects, "services", service["metadata"]["resourceVersion"])["object"]["code"] == 410
    link.proxy.resume()
    objects.wait_for("service", "digits", lambda found: True, what="made anew")
    link.operator.wait("ok: leading")
    link.operator.wait_log("services are listed anew: their watch could not go on from where it was")
    link.operator.settle()
    assert objects.get("deployment", "gone") is None
    assert objects.get("service", "gone") is None
    assert link.operator.process is not None
    assert link.operator.process.poll() is None


@pytest.mark.timeout(300)
def test_watches_that_get_too_many_requests_for_an_answer_are_begun_anew_and_nothing_is_missed(
    link: Link, models: Models, objects: Objects
) -> None:
    """The API server's own fairness refuses them, until kopf has tried six times and gives the watch up."""
    serve(link, models)
    models.create("gone")
    models.wait_condition("Accepted", "True", "Valid", "gone")
    link.operator.settle()
    with refused_lists(objects, link.operator):
        deadline = time.monotonic() + WAIT_SECONDS
        while "has too much to do for a WATCH of services (429)" not in link.operator.log.read_text():
            assert time.monotonic() < deadline, link.operator.log.read_text()
            link.proxy.drop()
            time.sleep(1)
        objects.delete("service", "digits")
        objects.kubectl("delete", "modeldeployment", "gone", "--wait")
        link.operator.wait_log("has too much to do for a GET of services (429)")
        assert objects.get("service", "digits") is None
        assert link.operator.metric("leader") == 1
    objects.wait_for("service", "digits", lambda found: True, what="made anew")
    link.operator.wait_log("services are listed anew: their watch could not go on from where it was")
    objects.wait_collected("deployment", "gone")
    models.change(replicas=2)
    models.wait_pods(2)
    link.operator.settle()
    assert link.operator.metric("lease_transitions") == 0


@contextmanager
def refused_lists(objects: Objects, operator: OperatorProcess) -> Iterator[None]:
    """The API server answers 429 to every list and watch of the operator: they have a priority level of their own with
    the least there may be, one seat, and a request whose body never comes sits in it."""
    metadata = {"name": f"refused-{objects.namespace}"}
    account = {"name": IDENTITY, "namespace": objects.namespace}
    here = {"apiGroups": ["*"], "namespaces": ["*"]}
    matched = [
        here | {"verbs": ["list", "watch"], "resources": ["*"]},
        here | {"verbs": ["create"], "resources": ["configmaps"]},
    ]
    one_seat = {"nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0}
    level = {"type": "Limited", "limited": {**one_seat, "limitResponse": {"type": "Reject"}}}
    rule = {"subjects": [{"kind": "ServiceAccount", "serviceAccount": account}], "resourceRules": matched}
    schema = {"matchingPrecedence": 10, "priorityLevelConfiguration": metadata, "rules": [rule]}
    made = (("PriorityLevelConfiguration", level), ("FlowSchema", schema))
    for kind, spec in made:
        objects.apply({"apiVersion": FAIRNESS, "kind": kind, "metadata": metadata, "spec": spec})
    try:
        with unfinished_request(objects, operator, metadata["name"]):
            yield
    finally:
        for kind, _ in reversed(made):
            objects.kubectl("delete", f"{kind.lower()}.{FAIRNESS.partition('/')[0]}", metadata["name"])


@contextmanager
def unfinished_request(objects: Objects, operator: OperatorProcess, level: str) -> Iterator[None]:
    """As the operator, in this priority level."""
    state = objects.cluster.state
    assert state is not None
    context = ssl.create_default_context(cafile=state.pki / "ca.crt")
    token = json.loads(operator.kubeconfig.read_text())["users"][0]["user"]["token"]
    connection = http.client.HTTPSConnection(state.api_host, state.ports["apiserver"], timeout=10, context=context)
    seats = f'apiserver_flowcontrol_current_executing_seats{{flow_schema="{level}",priority_level="{level}"}} 1'
    deadline = time.monotonic() + WAIT_SECONDS
    try:
        # The level counts a moment after it was made.
        while seats not in objects.kubectl("get", "--raw", "/metrics"):
            assert time.monotonic() < deadline, f"no request is in the level {level}"
            connection.close()
            connection.putrequest("POST", f"/api/v1/namespaces/{objects.namespace}/configmaps")
            for name, value in (("Authorization", f"Bearer {token}"), ("Content-Type", "application/json")):
                connection.putheader(name, value)
            connection.putheader("Content-Length", "1000")
            connection.endheaders()
            time.sleep(0.5)
        yield
    finally:
        connection.close()


def first_event(objects: Objects, plural: str, version: str) -> Manifest:
    """Of a watch from this version on."""
    query = f"watch=true&resourceVersion={version}&timeoutSeconds=5"
    text = objects.kubectl("get", "--raw", f"/api/v1/namespaces/{objects.namespace}/{plural}?{query}")
    event: Manifest = json.loads(text.splitlines()[0])
    return event


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
        other.wait("ok: leading")
        models.wait_pods(2)
        other.settle()
        link.proxy.resume()
        assert link.operator.process is not None
        assert link.operator.process.wait(WAIT_SECONDS) == 3
        link.operator.process = None
        assert other.metric("leader") == 1
        other.settle()
        assert other.stop(signal.SIGTERM) == 0
    finally:
        other.kill()


def wait_until_fenced(operator: OperatorProcess) -> None:
    wait_until(lambda: operator.metric("leader") == 0, operator.log.read_text)
