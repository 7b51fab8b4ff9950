"""The operator's own life: it comes, goes, is killed, and loses its API server, and no pod notices."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.cluster import control_plane as components
from tests.cluster import process
from tests.cluster.lifecycle import Cluster
from tests.fixtures.objects import Objects
from tests.fixtures.operator import Models, OperatorProcess, operator_process
from tests.fixtures.waiting import wait_until

pytestmark = pytest.mark.api

GRACE_SECONDS = 30
"""Then the kubelet would kill it."""


def test_nothing_happens_to_the_pods_when_it_is_killed_and_comes_back(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    models.create(replicas=2)
    models.make_ready(models.wait_pods(2))
    models.wait_condition("Progressing", "True", "RolloutComplete")
    operator.settle()
    before = {pod["metadata"]["uid"] for pod in models.pods()}
    deployment = objects.get("deployment", "digits")
    operator.kill()
    operator.start()
    assert operator.settle() == 0
    assert {pod["metadata"]["uid"] for pod in models.pods()} == before
    after = objects.get("deployment", "digits")
    assert deployment is not None
    assert after is not None
    assert after["metadata"]["resourceVersion"] == deployment["metadata"]["resourceVersion"]


def test_what_changed_while_it_was_away_is_done_when_it_comes_back(
    models: Models, objects: Objects, stopped_operator: OperatorProcess
) -> None:
    models.create(replicas=2)
    models.create("gone")
    stopped_operator.start()
    models.wait_condition("Accepted", "True", "Valid")
    models.wait_condition("Accepted", "True", "Valid", "gone")
    assert stopped_operator.stop() == 0
    objects.delete("modeldeployment", "gone")
    objects.delete("service", "digits")
    models.change(replicas=1)
    stopped_operator.start()
    models.wait_condition("Accepted", "True", "Valid")
    objects.wait_for("service", "digits", lambda found: True, what="made anew")
    objects.wait_gone("poddisruptionbudget", "digits")
    models.wait_pods(1)
    objects.wait_collected("deployment", "gone")


def test_it_ends_at_once_and_cleanly_when_it_is_asked_to(models: Models, operator: OperatorProcess) -> None:
    models.create()
    models.wait_condition("Accepted", "True", "Valid")
    operator.settle()
    began = time.monotonic()
    assert operator.stop() == 0
    assert time.monotonic() - began < GRACE_SECONDS
    assert "Traceback" not in operator.log.read_text()


def test_it_serves_probes_and_metrics(models: Models, operator: OperatorProcess) -> None:
    models.create()
    models.wait_condition("Accepted", "True", "Valid")
    assert operator.fetch("/healthz") == (200, "ok\n")
    assert operator.fetch("/readyz") == (200, "ok: leading\n")
    text = operator.fetch("/metrics")[1]
    assert 'slipway_operator_reconcile_duration_seconds_count{result="success"}' in text
    assert 'slipway_operator_watch_last_opened_timestamp_seconds{resource="modeldeployments"}' in text
    assert 'slipway_operator_api_requests_total{code="201",resource="deployments",verb="PATCH"} 1.0' in text


def test_it_needs_no_more_rights_than_its_table_lists(models: Models, operator: OperatorProcess) -> None:
    models.create(replicas=2, exposure={"ingress": {"host": "digits.example.com"}})
    models.make_ready(models.wait_pods(2))
    models.wait_condition("Ready", "True", "PredictionsAnswered")
    models.change(replicas=1, exposure=None)
    models.wait("1/1", lambda found: found["replicaSummary"] == "1/1")
    operator.settle()
    assert 'code="403"' not in operator.fetch("/metrics")[1]
    assert "orbidden" not in operator.log.read_text()


def test_it_serves_the_whole_cluster_when_no_namespace_is_named(
    cluster: Cluster, models: Models, objects: Objects, tmp_path: Path
) -> None:
    # Nothing can be made in a namespace that ends, and the server says so with a 403 as well.
    wait_until(lambda: "Terminating" not in objects.kubectl("get", "namespaces"), "other tests' namespaces are gone")
    everywhere = operator_process(cluster, objects, tmp_path, cluster_wide=True)
    everywhere.start()
    try:
        models.create()
        models.make_ready(models.wait_pods(1))
        models.wait_condition("Ready", "True", "PredictionsAnswered")
        assert 'code="403"' not in everywhere.fetch("/metrics")[1]
    finally:
        everywhere.kill()


def test_another_namespace_is_not_touched(models: Models, objects: Objects, operator: OperatorProcess) -> None:
    other = f"{objects.namespace[:50]}-other"
    objects.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}})
    try:
        elsewhere = Objects(objects.cluster, other)
        Models(elsewhere).create()
        models.create()
        models.wait_condition("Accepted", "True", "Valid")
        assert elsewhere.get("deployment", "digits") is None
        found = elsewhere.get("modeldeployment", "digits")
        assert found is not None
        assert "conditions" not in found["status"]
    finally:
        objects.kubectl("delete", "namespace", other, "--wait=false")


def test_it_outlives_a_restart_of_the_api_server(
    cluster: Cluster, models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    if cluster.state is None:
        pytest.skip("the API server of KUBECONFIG is not ours to restart; unset it")
    models.create()
    models.make_ready(models.wait_pods(1))
    models.wait_condition("Ready", "True", "PredictionsAnswered")
    operator.settle()
    process.stop(cluster.state, "kube-apiserver", timeout_seconds=1)
    time.sleep(2)
    assert operator.fetch("/healthz") == (200, "ok\n")
    components.start_apiserver(cluster.state)
    objects.delete("service", "digits")
    objects.wait_for("service", "digits", lambda found: True, what="made anew")
    models.wait_condition("Ready", "True", "PredictionsAnswered")
    assert operator.process is not None
    assert operator.process.poll() is None
