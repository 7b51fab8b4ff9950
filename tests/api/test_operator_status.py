"""The status tells the truth: what serves, what does not, and why."""

from __future__ import annotations

import time
from typing import Any, Final

import pytest

from slipway_operator.names import TEMPLATE_HASH_ANNOTATION
from slipway_runtime.contract import FailureReason, Stage, TerminationMessage
from tests.cluster.lifecycle import Cluster
from tests.fixtures.described import event_ages, in_order_of_time
from tests.fixtures.objects import Manifest, Objects
from tests.fixtures.operator import (
    Models,
    OperatorProcess,
    condition,
    crash_loop,
    evicted,
    started_but_unready,
    unmounted,
    unscheduled,
    waiting,
)

pytestmark = pytest.mark.api

NOT_FOUND: Final = TerminationMessage(
    stage=Stage.FETCH, reason=FailureReason.ARTIFACT_NOT_FOUND, message="s3://models/digits.pt: no such key"
)
EVENT_CLOCK_SECONDS: Final = 2
"""Events are timed by the second."""
SCHEDULER_WORDS: Final = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."

CAUSES: Final[dict[str, tuple[Manifest, str, str, str]]] = {
    "unscheduled": (unscheduled(SCHEDULER_WORDS), "Unschedulable", "True", SCHEDULER_WORDS),
    "image-missing": (
        waiting("ImagePullBackOff", 'Back-off pulling image "x:1": ErrImagePull: x:1: not found'),
        "ImagePullFailed",
        "False",
        "x:1: not found",
    ),
    "registry-away": (
        waiting("ErrImagePull", "dial tcp 10.0.0.1:5000: connect: connection refused"),
        "ImagePullFailed",
        "True",
        "connection refused",
    ),
    "secret-missing": (
        waiting("CreateContainerConfigError", 'secret "s3-keys" not found'),
        "ContainerConfigError",
        "False",
        'secret "s3-keys" not found',
    ),
    "volume-missing": (unmounted(), "ContainerConfigError", "True", "volumes or its network"),
    "memory": (crash_loop(exitCode=137, reason="OOMKilled"), "OutOfMemoryKilled", "False", "limits.memory"),
    "artifact": (
        crash_loop(exitCode=1, reason="Error", message=NOT_FOUND.encode().decode()),
        "ArtifactNotFound",
        "False",
        "no such key",
    ),
    "crash": (
        crash_loop(exitCode=3, reason="Error", message="Traceback\n2026-01-01T00:00:00Z ValueError: broken\n"),
        "Crashed",
        "True",
        "exit code 3: ValueError: broken",
    ),
    "probe": (started_but_unready(), "ProbeFailing", "True", "readiness probe"),
    "evicted": (evicted("The node was low on resource: memory."), "Evicted", "True", "low on resource: memory"),
}
"""What the kubelet says, and what is made of it: reason, whether it may still pass by itself, words."""


@pytest.mark.feature("root-cause")
def test_each_cause_is_named_in_the_conditions_and_as_the_last_failure(
    models: Models, operator: OperatorProcess
) -> None:
    for name, (played, *_) in CAUSES.items():
        models.create(name)
        models.play(models.wait_pods(1, name)[0], played)
    for name, (_, reason, progressing, words) in CAUSES.items():
        # A probe that fails is given time first.
        status = models.wait_condition("Ready", "False", reason, name)
        assert words in condition(status, "Ready")["message"], name
        assert condition(status, "Progressing")["status"] == progressing, name
        assert status["lastFailure"]["reason"] == reason, name
        assert status["lastFailure"]["pod"].startswith(name), name
        assert condition(status, "Available")["status"] == "False", name


@pytest.mark.feature("root-cause")
def test_the_worst_pod_is_found_among_many(models: Models, operator: OperatorProcess) -> None:
    models.create(replicas=3)
    healthy, slow, broken = models.wait_pods(3)
    models.make_ready([healthy])
    models.play(slow, unscheduled(SCHEDULER_WORDS))
    models.play(broken, CAUSES["artifact"][0])
    status = models.wait("the broken pod", lambda found: "lastFailure" in found)
    status = models.wait_condition("Progressing", "False", "ArtifactNotFound")
    assert status["lastFailure"]["pod"] == broken["metadata"]["name"]
    assert status["lastFailure"]["stage"] == "Fetch"
    assert status["lastFailure"]["exitCode"] == 1
    assert condition(status, "Ready")["status"] == "True"
    assert status["replicaSummary"] == "1/3"


def test_a_refused_pod_is_told_with_the_words_of_admission(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    objects.create(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "none", "namespace": objects.namespace},
            "spec": {"hard": {"pods": "0"}},
        }
    )
    models.create()
    status = models.wait_condition("Ready", "False", "QuotaExceeded")
    message = condition(status, "Ready")["message"]
    assert message.startswith("exceeded quota: none, requested: pods=1")


def test_it_is_ready_while_pods_of_this_generation_serve(models: Models, operator: OperatorProcess) -> None:
    models.create(replicas=2)
    first, second = models.wait_pods(2)
    models.make_ready([first])
    status = models.wait_condition("Ready", "True", "PredictionsAnswered")
    assert condition(status, "Progressing")["reason"] == "RollingOut"
    models.make_ready([second])
    status = models.wait_condition("Progressing", "True", "RolloutComplete")
    since = condition(status, "Ready")["lastTransitionTime"]
    assert (status["replicaSummary"], status["readyReplicas"]) == ("2/2", 2)

    models.change(replicas=3)
    status = models.wait("2/3", lambda found: found["replicaSummary"] == "2/3")
    assert condition(status, "Ready")["lastTransitionTime"] == since
    assert condition(status, "Ready")["status"] == "True"

    models.change(replicas=0)
    status = models.wait_condition("Ready", "False", "ScaledToZero")
    assert condition(status, "Available")["reason"] in ("ScaledToZero", "PodsReady")
    models.wait_condition("Available", "False", "ScaledToZero")


@pytest.mark.feature("old-revision-serves")
def test_the_older_revision_serves_while_a_bad_one_fails_and_a_fix_recovers(
    models: Models, operator: OperatorProcess
) -> None:
    models.create()
    models.make_ready(models.wait_pods(1))
    models.wait_condition("Ready", "True", "PredictionsAnswered")

    served = models.template()

    models.change(artifact={"uri": "s3://models/nowhere.pt"})
    status = models.wait_condition("Ready", "False", "RollingOut")
    assert condition(status, "Available")["status"] == "True"
    bad = models.wait_pods(1, template=models.template())
    models.play(bad[0], CAUSES["artifact"][0])
    status = models.wait_condition("Ready", "False", "ArtifactNotFound")
    assert condition(status, "Available")["status"] == "True"
    assert "of an older generation alone" in condition(status, "Available")["message"]
    assert condition(status, "Progressing")["status"] == "False"
    assert status["replicaSummary"] == "0/1"
    assert status["lastFailure"]["revision"] == bad[0]["metadata"]["annotations"][TEMPLATE_HASH_ANNOTATION] != served

    models.change(artifact={"uri": "s3://models/digits.pt"})
    status = models.wait_condition("Ready", "True", "PredictionsAnswered")
    assert "lastFailure" not in status


@pytest.mark.feature("deep-check")
def test_a_scheme_that_is_not_allowed_leaves_the_children_as_they_are(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    models.create()
    models.make_ready(models.wait_pods(1))
    models.wait_condition("Ready", "True", "PredictionsAnswered")
    before = objects.get("deployment", "digits")
    models.change(artifact={"uri": "file:///models/digits.pt"})
    status = models.wait_condition("Accepted", "False", "SchemeNotAllowed")
    assert "http, https, s3" in condition(status, "Accepted")["message"]
    assert condition(status, "Ready")["reason"] == "SchemeNotAllowed"
    assert condition(status, "Available")["status"] == "True"
    after = objects.get("deployment", "digits")
    assert before is not None
    assert after is not None
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    models.change(artifact={"uri": "s3://models/digits.pt"})
    models.wait_condition("Ready", "True", "PredictionsAnswered")


@pytest.mark.feature("observed-generation")
def test_a_taken_name_is_told_and_its_object_is_not_touched(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    stranger = objects.create(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "digits", "namespace": objects.namespace},
            "spec": {"selector": {"app": "other"}, "ports": [{"port": 80}]},
        }
    )
    models.create()
    status = models.wait_condition("Accepted", "False", "NameConflict")
    message = condition(status, "Accepted")["message"]
    assert "ModelDeployment digits" in message
    assert "Service digits" in message
    operator.settle()
    kept = objects.get("service", "digits")
    assert kept is not None
    assert kept["metadata"]["resourceVersion"] == stranger["metadata"]["resourceVersion"]
    assert objects.get("deployment", "digits") is None
    objects.delete("service", "digits")
    models.wait_condition("Accepted", "True", "Valid")


def test_a_refused_child_is_told_in_the_servers_words_and_a_new_spec_is_tried_at_once(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    quota: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few", "namespace": objects.namespace},
        "spec": {"hard": {"count/deployments.apps": "0"}},
    }
    objects.create(quota)
    objects.wait_for("resourcequota", "few", lambda found: "hard" in found.get("status", {}), what="counted")
    models.create()
    status = models.wait_condition("Accepted", "False", "ChildRefused")
    assert "exceeded quota: few" in condition(status, "Accepted")["message"]
    assert condition(status, "Ready")["reason"] == "ChildRefused"
    objects.patch("resourcequota", "few", {"spec": {"hard": {"count/deployments.apps": "1"}}})
    objects.wait_for(
        "resourcequota",
        "few",
        lambda found: found["status"]["hard"]["count/deployments.apps"] == "1",
        what="raised",
    )
    models.change(traffic={"requestTimeoutSeconds": 20})
    models.wait_condition("Accepted", "True", "Valid", timeout_seconds=8)


@pytest.mark.feature("url-column")
def test_the_url_appears_with_the_address_of_the_ingress(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    models.create(exposure={"ingress": {"path": "/models/digits"}, "service": {"port": 8000}})
    models.wait_condition("RouteReady", "False", "AddressPending")
    objects.patch(
        "ingress", "digits", {"status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.9"}]}}}, "--subresource=status"
    )
    status = models.wait_condition("RouteReady", "True", "AddressAssigned")
    assert status["url"] == "http://10.0.0.9/models/digits/"
    assert status["internalURL"] == f"http://digits.{objects.namespace}.svc:8000/"


@pytest.mark.feature("ingress-tls")
def test_the_url_is_https_where_the_ingress_has_a_certificate(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    host = "digits.example.com"
    models.create(exposure={"ingress": {"host": host, "tls": {"secretName": "digits-tls"}}})
    models.wait_condition("RouteReady", "False", "AddressPending")
    ingress = objects.get("ingress", "digits")
    assert ingress is not None
    assert ingress["spec"]["tls"] == [{"hosts": [host], "secretName": "digits-tls"}]
    objects.patch(
        "ingress", "digits", {"status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.9"}]}}}, "--subresource=status"
    )
    status = models.wait_condition("RouteReady", "True", "AddressAssigned")
    assert status["url"] == f"https://{host}/"


@pytest.mark.feature("events")
def test_one_event_tells_each_transition_and_counts_its_return(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    models.create()
    (pod,) = models.wait_pods(1)
    for _ in range(2):
        models.play(pod, CAUSES["artifact"][0])
        models.wait_condition("Ready", "False", "ArtifactNotFound")
        models.make_ready([pod])
        models.wait_condition("Ready", "True", "PredictionsAnswered")
    operator.settle()
    events = {
        (event["type"], event["reason"]): event
        for event in objects.list("events")
        if event["involvedObject"]["kind"] == "ModelDeployment"
    }
    failure = events["Warning", "ArtifactNotFound"]
    assert failure["count"] == 2
    assert failure["message"] == NOT_FOUND.message
    assert failure["reportingComponent"] == failure["source"]["component"] == "slipway-operator"
    assert events["Normal", "Valid"]["count"] == 1


@pytest.mark.feature("events")
def test_events_stand_in_the_order_of_time_when_described(
    models: Models, control_plane: Cluster, operator: OperatorProcess
) -> None:
    models.create()
    (pod,) = models.wait_pods(1)
    time.sleep(EVENT_CLOCK_SECONDS)
    models.play(pod, CAUSES["artifact"][0])
    models.wait_condition("Ready", "False", "ArtifactNotFound")
    time.sleep(EVENT_CLOCK_SECONDS)
    models.make_ready([pod])
    models.wait_condition("Ready", "True", "PredictionsAnswered")
    operator.settle()
    described = control_plane.kubectl("-n", models.objects.namespace, "describe", "modeldeployment", "digits")
    ages = event_ages(described)
    assert len(ages) > 4
    assert in_order_of_time(ages), described
