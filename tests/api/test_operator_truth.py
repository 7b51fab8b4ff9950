"""Ready ends with what it rests on, on a real API server: who else has the labels, and what was changed by hand."""

from __future__ import annotations

import pytest

from slipway_operator.names import INSTANCE_LABEL, selector_labels
from tests.fixtures.objects import Manifest, Objects
from tests.fixtures.operator import RUNTIME_IMAGE, Models, OperatorProcess, condition

pytestmark = pytest.mark.api


def serve(models: Models) -> Manifest:
    """One pod of one model, ready."""
    models.create()
    (pod,) = models.wait_pods(1)
    models.make_ready([pod])
    models.wait_condition("Ready", "True", "PredictionsAnswered")
    models.wait_condition("Progressing", "True", "RolloutComplete")
    return pod


def test_a_pod_that_joins_the_service_by_its_labels_is_told_by_name(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    serve(models)
    stranger = objects.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "mine", "labels": selector_labels("digits")},
            "spec": {"containers": [{"name": "runtime", "image": RUNTIME_IMAGE}]},
        }
    )
    operator.settle()
    models.wait_condition("Ready", "True", "PredictionsAnswered")
    models.make_ready([stranger])
    status = models.wait_condition("Ready", "False", "ServiceUnreachable")
    assert "pod mine" in condition(status, "Ready")["message"]
    assert status["readyReplicas"] == 1
    objects.kubectl("label", "pod", "mine", "slipway.dev/modeldeployment-")
    models.wait_condition("Ready", "True", "PredictionsAnswered")


def test_a_pod_that_is_taken_from_the_service_counts_no_more(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    pod = serve(models)
    objects.kubectl("label", "pod", pod["metadata"]["name"], f"{INSTANCE_LABEL}-")
    status = models.wait("nobody serves", lambda found: condition(found, "Available")["status"] == "False")
    assert condition(status, "Ready")["status"] == "False"
    assert status["replicaSummary"] == "0/1"
    models.make_ready(models.wait_pods(1))
    models.wait_condition("Ready", "True", "PredictionsAnswered")


@pytest.mark.parametrize("gone", [False, True], ids=["turned", "deleted"])
def test_a_service_that_leads_elsewhere_while_repairs_wait_ends_it(
    models: Models, objects: Objects, operator: OperatorProcess, gone: bool
) -> None:
    serve(models)
    models.change(paused=True)
    models.wait_condition("Ready", "True", "PredictionsAnswered")
    if gone:
        objects.delete("service", "digits")
    else:
        objects.patch("service", "digits", {"spec": {"selector": {INSTANCE_LABEL: "other"}}})
    status = models.wait_condition("Ready", "False", "Paused")
    assert "Service digits" in condition(status, "Ready")["message"]
    assert condition(status, "Degraded")["reason"] == "ServiceUnreachable"
    models.change(paused=False)
    models.wait_condition("Ready", "True", "PredictionsAnswered")


def test_pods_of_a_template_that_was_changed_while_nobody_looked_are_not_ours(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    before = serve(models)
    models.change(paused=True)
    models.wait_condition("Ready", "True", "PredictionsAnswered")
    operator.stop()
    objects.kubectl("set", "image", "deployment/digits", "runtime=registry.example.com/else:1")
    (other,) = [pod for pod in models.wait_pods(2) if pod["metadata"]["name"] != before["metadata"]["name"]]
    models.make_ready([other])
    models.wait_pods(1)
    assert other["metadata"]["annotations"] == before["metadata"]["annotations"], "it carries the hash of ours"
    operator.start()
    status = models.wait_condition("Ready", "False", "Paused")
    assert "Deployment digits" in condition(status, "Ready")["message"]


def test_a_server_of_another_kind_says_that_only_its_readiness_was_asked(
    models: Models, operator: OperatorProcess
) -> None:
    models.create(runtime={"engine": "Custom", "image": RUNTIME_IMAGE})
    models.make_ready(models.wait_pods(1))
    status = models.wait_condition("Ready", "True", "ReadinessAnswered")
    assert "spec.runtime.container.prediction" in condition(status, "Ready")["message"]
