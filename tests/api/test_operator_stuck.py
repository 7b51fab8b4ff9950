"""What cannot go on ends in a condition with the API server's own words, and not in a loop."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.fixtures.objects import Manifest, Objects
from tests.fixtures.operator import Models, OperatorProcess, condition, ready

pytestmark = pytest.mark.api


def writes_within(operator: OperatorProcess, seconds: float) -> int:
    before = operator.writes()
    time.sleep(seconds)
    return operator.writes() - before


def owned_deployment(model: Manifest, namespace: str) -> Manifest:
    """Ours by its owner, and with a selector that no operator gave it."""
    labels = {"app": "by-hand"}
    owner = {
        "apiVersion": model["apiVersion"],
        "kind": model["kind"],
        "name": model["metadata"]["name"],
        "uid": model["metadata"]["uid"],
        "controller": True,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": model["metadata"]["name"], "namespace": namespace, "ownerReferences": [owner]},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "other", "image": "registry.example.com/other:1"}]},
            },
        },
    }


def test_an_immutable_field_is_told_in_the_servers_words_and_not_tried_in_a_loop(
    models: Models, objects: Objects, stopped_operator: OperatorProcess
) -> None:
    created = models.create()
    objects.create(owned_deployment(created, objects.namespace))
    stopped_operator.start()
    status = models.wait_condition("Accepted", "False", "ChildRefused", timeout_seconds=30)
    message = condition(status, "Accepted")["message"]
    assert "Deployment digits" in message
    assert "field is immutable" in message
    assert condition(status, "Ready")["reason"] == "ChildRefused"
    assert condition(status, "Stalled")["status"] == "True"
    # Tried again after 2, 4, 8 s and so on: a mend is found, a loop is none.
    assert writes_within(stopped_operator, 6) <= 3
    objects.delete("deployment", "digits")
    models.wait_condition("Accepted", "True", "Valid", timeout_seconds=30)


def test_a_rollout_without_progress_is_told_at_its_deadline_and_writes_end(
    models: Models, operator: OperatorProcess
) -> None:
    models.create(rollout={"progressDeadlineSeconds": 2})
    status = models.wait_condition("Ready", "False", "ProgressDeadlineExceeded", timeout_seconds=30)
    assert condition(status, "Progressing")["status"] == "False"
    assert condition(status, "Stalled")["reason"] == "ProgressDeadlineExceeded"
    assert condition(status, "Degraded")["reason"] == "ProgressDeadlineExceeded"
    operator.settle()
    # A pod that comes late after all is welcome.
    models.make_ready(models.wait_pods(1))
    models.wait_condition("Ready", "True", "PredictionsAnswered")


@pytest.mark.feature("root-cause")
def test_what_admission_refuses_is_told_in_its_words(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    limits: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "small", "namespace": objects.namespace},
        "spec": {"limits": [{"type": "Container", "max": {"memory": "64Mi"}}]},
    }
    objects.create(limits)
    models.create(resources={"limits": {"memory": "1Gi"}})
    status = models.wait_condition("Ready", "False", "PodRefused", timeout_seconds=30)
    message = condition(status, "Ready")["message"]
    assert message.startswith("maximum memory usage per Container is 64Mi")
    assert status["lastFailure"]["stage"] == "Schedule"
    assert condition(status, "Progressing")["status"] == "False"


def test_a_service_that_leads_nowhere_is_told_and_asked_less_and_less(
    models: Models, stopped_operator: OperatorProcess
) -> None:
    """In this tier nothing carries packets to a Service's address."""
    stopped_operator.start(SLIPWAY_VERIFY_PREDICTIONS="true")
    models.create()
    (pod,) = models.wait_pods(1)
    models.play(pod, ready())
    status = models.wait_condition("Ready", "False", "Verifying")
    assert condition(status, "Available")["status"] == "True"
    status = models.wait_condition("Ready", "False", "ServiceUnreachable", timeout_seconds=60)
    assert status["lastFailure"]["reason"] == "ServiceUnreachable"
    assert condition(status, "Ready")["message"].startswith("The Service ")
    assert condition(status, "Degraded")["status"] == "True"
    assert "stableRevision" not in status
    assert stopped_operator.settle(3.0) > 0
