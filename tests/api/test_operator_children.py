"""Children are made, kept as they should be, and removed with their reason to exist."""

from __future__ import annotations

import time
from typing import Any, Final

import pytest

from slipway_operator.api.reasons import ConditionType
from slipway_operator.names import child_labels, config_key
from tests.fixtures.objects import Manifest, Objects
from tests.fixtures.operator import REPAIR_SECONDS, Models, OperatorProcess, condition

pytestmark = pytest.mark.api

EVERYTHING: Final[dict[str, Any]] = {
    "replicas": 2,
    "resources": {"requests": {"cpu": "1000m", "memory": "0.5Gi"}, "gpu": {"count": 1}},
    "runtime": {"env": [{"name": "EMPTY", "value": ""}, {"name": "LEVEL", "value": "debug"}]},
    "exposure": {
        "service": {"grpcPort": 9000},
        "ingress": {"host": "digits.example.com", "path": "/models/digits"},
    },
    "sla": {"p99Milliseconds": 100},
    "networkPolicy": {"clients": [{"namespaceSelector": {}}], "monitors": [{"podSelector": {}}]},
    "traffic": {"auth": {"apiKeysSecretRef": {"name": "keys"}}},
    "podTemplate": {
        "labels": {"team": "vision"},
        "tolerations": [{"operator": "Exists"}],
        "topologySpreadConstraints": [{"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "minDomains": 2}],
        "affinity": {
            "podAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {}, "topologyKey": "zone"}]
            }
        },
        "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "1024Mi"}}],
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
        "securityContext": {"supplementalGroups": [2000, 1000]},
    },
}
"""A spec that needs every kind of child, with values that the API server writes in its own way."""

CHILDREN: Final = (
    ("configmap", "digits-config"),
    ("serviceaccount", "digits"),
    ("service", "digits"),
    ("poddisruptionbudget", "digits"),
    ("networkpolicy", "digits"),
    ("ingress", "digits"),
    ("deployment", "digits"),
)

EDITS: Final[dict[str, Manifest]] = {
    "serviceaccount": {"automountServiceAccountToken": True},
    "service": {"spec": {"selector": {"app.kubernetes.io/name": "another"}}},
    "poddisruptionbudget": {"spec": {"maxUnavailable": 2}},
    "networkpolicy": {"spec": {"ingress": [{}]}},
    "ingress": {"spec": {"rules": [{"host": "another.example.com"}]}},
    "deployment": {"spec": {"replicas": 7, "template": {"spec": {"enableServiceLinks": True}}}},
}


def essence(found: Manifest) -> Manifest:
    """All but what differs between two equal objects."""
    kept = {name: value for name, value in found.items() if name not in ("status", "metadata")}
    kept.get("spec", {}).pop("clusterIP", None)
    kept.get("spec", {}).pop("clusterIPs", None)
    metadata = {name: found["metadata"].get(name) for name in ("name", "labels", "ownerReferences")}
    return kept | {"metadata": metadata}


def made(objects: Objects, kind: str, name: str) -> Manifest:
    return objects.wait_for(kind, name, lambda found: True, what="made")


def test_every_child_is_made_owned_and_labelled(models: Models, objects: Objects, operator: OperatorProcess) -> None:
    model = models.create(**EVERYTHING)
    for kind, name in CHILDREN:
        child = made(objects, kind, name)
        assert child["metadata"]["ownerReferences"] == [
            {
                "apiVersion": "slipway.dev/v1alpha1",
                "kind": "ModelDeployment",
                "name": "digits",
                "uid": model["metadata"]["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
        assert child_labels("digits").items() <= child["metadata"]["labels"].items()
    models.wait_pods(2)


def test_the_first_status_says_all_that_can_be_said(models: Models, operator: OperatorProcess) -> None:
    models.create(**EVERYTHING)
    status = models.wait_condition("Accepted", "True", "Valid")
    assert {item["type"] for item in status["conditions"]} == set(ConditionType)
    assert status["replicaSummary"] == "0/2"
    assert status["internalURL"] == f"http://digits.{models.objects.namespace}.svc/"
    assert status["selector"].count("=") == 3
    assert condition(status, "Ready")["reason"] == "RollingOut"
    assert condition(status, "RouteReady")["reason"] == "AddressPending"
    assert "url" not in status


@pytest.mark.feature("drift")
def test_every_child_is_back_within_seconds_when_it_is_deleted(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    models.create(**EVERYTHING)
    operator.settle()
    for kind, name in CHILDREN:
        before = made(objects, kind, name)
        objects.delete(kind, name)
        uid = before["metadata"]["uid"]
        after = objects.wait_for(
            kind,
            name,
            lambda found, uid=uid: found["metadata"]["uid"] != uid,
            what="made anew",
            timeout_seconds=REPAIR_SECONDS,
        )
        assert essence(after) == essence(before)


@pytest.mark.feature("drift")
def test_every_child_is_put_right_within_seconds_when_it_is_edited(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    models.create(**EVERYTHING)
    operator.settle()
    for kind, name in CHILDREN:
        before = made(objects, kind, name)
        edit = {"data": dict.fromkeys(before["data"], "{}")} if kind == "configmap" else EDITS[kind]
        assert essence(objects.patch(kind, name, edit)) != essence(before)
        objects.wait_for(
            kind,
            name,
            lambda found, before=before: essence(found) == essence(before),
            what="as it was before",
            timeout_seconds=REPAIR_SECONDS,
        )


@pytest.mark.feature("drift")
def test_every_child_is_ours_again_within_seconds_when_its_owner_references_are_removed(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    models.create(**EVERYTHING)
    operator.settle()
    (revision,) = objects.list("controllerrevision")
    for kind, name in (*CHILDREN, ("controllerrevision", revision["metadata"]["name"])):
        before = made(objects, kind, name)
        objects.patch(kind, name, {"metadata": {"ownerReferences": None}})
        after = objects.wait_for(
            kind,
            name,
            lambda found: "ownerReferences" in found["metadata"],
            what="owned",
            timeout_seconds=REPAIR_SECONDS,
        )
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        assert after["metadata"]["ownerReferences"] == before["metadata"]["ownerReferences"]
    models.wait_condition("Accepted", "True", "Valid")
    assert len(objects.list("controllerrevision")) == 1


def test_children_that_were_left_behind_are_taken_back_by_a_model_of_the_same_name(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    """As after a restore: `kubectl delete --cascade=orphan`, then the same manifest again."""
    models.create(**EVERYTHING)
    models.make_ready(models.wait_pods(2))
    models.wait_condition("Ready", "True", "PredictionsAnswered")
    pods = {pod["metadata"]["uid"] for pod in models.pods()}
    objects.kubectl("delete", "modeldeployment", "digits", "--cascade=orphan")
    again = models.create(**EVERYTHING | {"networkPolicy": None})
    objects.wait_gone("networkpolicy", "digits")
    models.wait_condition("Ready", "True", "PredictionsAnswered")
    for kind, name in CHILDREN:
        if kind != "networkpolicy":
            owner = made(objects, kind, name)["metadata"]["ownerReferences"][0]
            assert owner["uid"] == again["metadata"]["uid"]
    assert {pod["metadata"]["uid"] for pod in models.pods()} == pods


def test_a_child_is_found_again_when_its_labels_are_removed(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    models.create(**EVERYTHING)
    operator.settle()
    for _ in range(2):
        objects.patch("service", "digits", {"metadata": {"labels": None}})
        objects.wait_for(
            "service",
            "digits",
            lambda found: child_labels("digits").items() <= found["metadata"].get("labels", {}).items(),
            what="labelled",
            timeout_seconds=REPAIR_SECONDS,
        )
        operator.settle()


def test_fields_of_others_are_left_alone(models: Models, objects: Objects, operator: OperatorProcess) -> None:
    models.create(**EVERYTHING)
    operator.settle()
    objects.patch("service", "digits", {"metadata": {"annotations": {"team": "vision"}}})
    objects.patch("deployment", "digits", {"spec": {"template": {"spec": {"priorityClassName": "high"}}}})
    operator.settle()
    models.change(exposure={"service": {"port": 8000}})
    service = objects.wait_for(
        "service", "digits", lambda found: found["spec"]["ports"][0]["port"] == 8000, what="port 8000"
    )
    assert service["metadata"]["annotations"]["team"] == "vision"
    deployment = objects.get("deployment", "digits")
    assert deployment is not None
    assert deployment["spec"]["template"]["spec"]["priorityClassName"] == "high"


def test_a_further_pass_writes_nothing(models: Models, operator: OperatorProcess) -> None:
    models.create(**EVERYTHING)
    models.make_ready(models.wait_pods(2))
    models.wait_condition("Ready", "True", "PredictionsAnswered")
    operator.settle()
    operator.stop()
    operator.start(SLIPWAY_SWEEP_SECONDS="1")
    time.sleep(4)
    assert operator.writes() == 0


def test_what_is_no_longer_wanted_is_deleted(models: Models, objects: Objects, operator: OperatorProcess) -> None:
    models.create(**EVERYTHING)
    made(objects, "ingress", "digits")
    models.change(replicas=1, exposure=None, networkPolicy=None)
    objects.wait_gone("poddisruptionbudget", "digits")
    objects.wait_gone("networkpolicy", "digits")
    objects.wait_gone("ingress", "digits")
    models.wait_condition("RouteReady", "True", "ServiceOnly")


@pytest.mark.feature("paused")
def test_children_are_left_as_they_are_while_it_is_paused_and_put_right_after_that(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    models.create(**EVERYTHING)
    models.make_ready(models.wait_pods(2))
    models.wait_condition("Ready", "True", "PredictionsAnswered")
    template = models.template()
    models.change(paused=True, traffic={"requestTimeoutSeconds": 77}, exposure=None)
    status = models.wait_condition("Ready", "False", "Paused")
    assert condition(status, "Available")["status"] == "True"
    assert "Deployment digits" in condition(status, "Paused")["message"]
    objects.delete("poddisruptionbudget", "digits")
    operator.settle()
    assert models.template() == template
    assert objects.get("ingress", "digits") is not None
    assert objects.get("poddisruptionbudget", "digits") is None
    models.change(paused=False)
    models.wait_condition("Paused", "False", "Active")
    objects.wait_gone("ingress", "digits")
    made(objects, "poddisruptionbudget", "digits")
    assert models.template() != template


def test_all_children_go_with_their_owner_when_the_operator_is_stopped(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    models.create(**EVERYTHING)
    models.wait_pods(2)
    operator.settle()
    assert operator.stop() == 0
    objects.delete("modeldeployment", "digits")
    objects.wait_gone("modeldeployment", "digits")
    for kind, name in CHILDREN:
        objects.wait_collected(kind, name)


def test_a_model_made_anew_under_its_old_name_gets_children_of_its_own(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    models.create(**EVERYTHING)
    operator.settle()
    objects.delete("modeldeployment", "digits")
    objects.wait_gone("modeldeployment", "digits")
    again = models.create(**EVERYTHING)
    models.wait_condition("Accepted", "True", "Valid")
    for kind, name in CHILDREN:
        owner = made(objects, kind, name)["metadata"]["ownerReferences"][0]
        assert owner["uid"] == again["metadata"]["uid"]


def test_older_configurations_stay_until_their_pods_are_gone(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    models.create()
    models.make_ready(models.wait_pods(1))
    models.wait_condition("Ready", "True", "PredictionsAnswered")
    first = set(made(objects, "configmap", "digits-config")["data"])
    assert len(first) == 1
    models.change(artifact={"uri": "s3://models/other.pt"})
    second = objects.wait_for(
        "configmap", "digits-config", lambda found: len(found["data"]) == 2, what="both configurations"
    )
    operator.settle()
    template = models.template()
    models.make_ready(models.wait_pods(1, template=template))
    models.wait_condition("Ready", "True", "PredictionsAnswered")
    last = objects.wait_for("configmap", "digits-config", lambda found: len(found["data"]) == 1, what="one of them")
    assert set(last["data"]) == set(second["data"]) - first
    deployment = objects.get("deployment", "digits")
    assert deployment is not None
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert set(last["data"]) == {config_key(annotations["slipway.dev/config-hash"])}


def test_a_needless_child_goes_even_when_its_labels_were_taken_off_while_the_operator_was_away(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    models.create(replicas=2, **{name: EVERYTHING[name] for name in ("exposure", "networkPolicy")})
    models.wait_condition("Accepted", "True", "Valid")
    operator.stop()
    models.change(replicas=1, exposure={"ingress": None}, networkPolicy=None)
    needless = ("poddisruptionbudget", "networkpolicy", "ingress")
    for kind in needless:
        objects.patch(kind, "digits", {"metadata": {"labels": dict.fromkeys(child_labels("digits"))}})
    operator.start()
    for kind in needless:
        objects.wait_gone(kind, "digits")
    models.wait_condition("Accepted", "True", "Valid")
