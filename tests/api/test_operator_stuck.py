"""What cannot go on ends in a condition with the API server's own words, and not in a loop."""

from __future__ import annotations

import time
from typing import Any

import pytest

from slipway_operator.api.reasons import ConditionType
from slipway_operator.names import child_labels
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


def webhook(namespace: str) -> Manifest:
    """Asked for each Deployment of the namespace, at an address where nobody answers."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": namespace},
        "webhooks": [
            {
                "name": "away.example.com",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "timeoutSeconds": 2,
                "clientConfig": {"url": "https://127.0.0.1:9/"},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "rules": [
                    {
                        "apiGroups": ["apps"],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": ["deployments"],
                    }
                ],
            }
        ],
    }


def keep_ingresses(namespace: str) -> list[Manifest]:
    """A policy of the cluster, and where it holds."""
    where = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    rule = {
        "apiGroups": ["networking.k8s.io"],
        "apiVersions": ["v1"],
        "operations": ["DELETE"],
        "resources": ["ingresses"],
    }
    group = "admissionregistration.k8s.io/v1"
    return [
        {
            "apiVersion": group,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": namespace},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [rule]},
                "validations": [{"expression": "false", "message": "this Ingress stays"}],
            },
        },
        {
            "apiVersion": group,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": namespace},
            "spec": {"policyName": namespace, "validationActions": ["Deny"], "matchResources": where},
        },
    ]


def test_an_immutable_field_is_told_in_the_servers_words_and_not_tried_in_a_loop(
    models: Models, objects: Objects, stopped_operator: OperatorProcess
) -> None:
    created = models.create()
    objects.create(owned_deployment(created, objects.namespace))
    stopped_operator.start()
    status = models.wait_condition("Accepted", "False", "ChildRefused")
    message = condition(status, "Accepted")["message"]
    assert "Deployment digits" in message
    assert "field is immutable" in message
    assert condition(status, "Ready")["reason"] == "ChildRefused"
    assert condition(status, "Stalled")["status"] == "True"
    # Tried again after 2, 4, 8 s and so on: a mend is found, a loop is none.
    assert writes_within(stopped_operator, 6) <= 3
    objects.delete("deployment", "digits")
    models.wait_condition("Accepted", "True", "Valid")


def test_a_rollout_without_progress_is_told_at_its_deadline_and_writes_end(
    models: Models, operator: OperatorProcess
) -> None:
    models.create(rollout={"progressDeadlineSeconds": 2})
    status = models.wait_condition("Ready", "False", "ProgressDeadlineExceeded")
    assert condition(status, "Progressing")["status"] == "False"
    assert condition(status, "Stalled")["reason"] == "ProgressDeadlineExceeded"
    assert condition(status, "Degraded")["reason"] == "ProgressDeadlineExceeded"
    operator.settle()
    # A pod that comes late after all is welcome.
    models.make_ready(models.wait_pods(1))
    models.wait_condition("Ready", "True", "PredictionsAnswered")


def test_the_child_is_made_at_once_when_what_stood_in_its_way_is_removed(
    models: Models, objects: Objects, stopped_operator: OperatorProcess
) -> None:
    in_the_way = owned_deployment(models.create(), objects.namespace)
    in_the_way["metadata"]["labels"] = child_labels("digits")
    objects.create(in_the_way)
    stopped_operator.start()
    models.wait_condition("Accepted", "False", "ChildRefused")
    while stopped_operator.log.read_text().count("refused Deployment") < 4:
        time.sleep(0.5)
    # The next attempt is 16 s away.
    objects.delete("deployment", "digits")
    models.wait_condition("Accepted", "True", "Valid", timeout_seconds=8)


def test_a_webhook_that_does_not_answer_is_told_in_the_servers_words_and_its_end_too(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    objects.create(webhook(objects.namespace))
    time.sleep(1)
    models.create()
    status = models.wait_condition("Accepted", "Unknown", "ChildNotWritten")
    message = condition(status, "Accepted")["message"]
    assert "cannot apply Deployment digits" in message
    assert "away.example.com" in message
    assert {item["type"] for item in status["conditions"]} == set(ConditionType)
    assert condition(status, "Ready")["reason"] == "ChildNotWritten"
    writes = operator.writes()
    time.sleep(6)
    assert operator.writes() - writes <= 4, "it is tried less and less, and told once"
    objects.kubectl("delete", "validatingwebhookconfiguration", objects.namespace)
    models.wait_condition("Accepted", "True", "Valid")


def test_a_child_that_may_not_be_deleted_is_told_in_the_servers_words(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    for manifest in keep_ingresses(objects.namespace):
        objects.create(manifest)
    models.create(exposure={"ingress": {"host": "digits.example.com"}})
    models.make_ready(models.wait_pods(1))
    models.wait_condition("Ready", "True", "PredictionsAnswered")
    time.sleep(2)
    models.change(exposure=None)
    status = models.wait_condition("Accepted", "False", "ChildRefused")
    message = condition(status, "Accepted")["message"]
    assert "refuses to delete Ingress digits" in message
    assert "this Ingress stays" in message
    assert condition(status, "Stalled")["status"] == "True"
    objects.kubectl("delete", "validatingadmissionpolicybinding", objects.namespace)
    objects.wait_gone("ingress", "digits")
    models.wait_condition("Ready", "True", "PredictionsAnswered")


def test_what_holds_up_the_end_of_a_child_is_named(models: Models, objects: Objects, operator: OperatorProcess) -> None:
    models.create()
    models.wait_condition("Accepted", "True", "Valid")
    objects.patch("service", "digits", {"metadata": {"finalizers": ["example.com/hold"]}})
    objects.delete("service", "digits")
    status = models.wait_condition("Accepted", "Unknown", "Reconciling")
    assert "Service digits" in condition(status, "Ready")["message"]
    assert "example.com/hold" in condition(status, "Ready")["message"]
    objects.patch("service", "digits", {"metadata": {"finalizers": None}})
    models.wait_condition("Accepted", "True", "Valid")


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
    status = models.wait_condition("Ready", "False", "PodRefused")
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
    status = models.wait_condition("Ready", "False", "ServiceUnreachable")
    assert status["lastFailure"]["reason"] == "ServiceUnreachable"
    assert condition(status, "Ready")["message"].startswith("The Service ")
    assert condition(status, "Degraded")["status"] == "True"
    assert "stableRevision" not in status
    assert stopped_operator.settle(3.0) > 0
