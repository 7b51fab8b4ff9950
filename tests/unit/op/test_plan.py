"""The plan: what is written, what is left alone, and that a second look finds nothing to do."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from slipway_operator.cache import Memory, Refusal
from slipway_operator.plan import needless_children, plan
from slipway_operator.records import child_record
from slipway_operator.resources import ChildRef
from tests.fixtures.operator import ready
from tests.unit.op.observations import (
    KEY,
    NOW,
    POLICY,
    UID,
    applied,
    claims,
    deployed_template,
    hashes,
    model,
    observed,
    plan_of,
    pod,
)

pytestmark = pytest.mark.unit

DEPLOYMENT = ChildRef("Deployment", "digits")
SERVICE = ChildRef("Service", "digits")


def test_the_deployment_is_applied_last_and_kept_as_a_revision_once_it_is_accepted() -> None:
    planned = plan_of(model(replicas=2, exposure={"ingress": {}}))
    assert [item.ref.kind for item in planned.applies] == [
        "ConfigMap",
        "ServiceAccount",
        "Service",
        "PodDisruptionBudget",
        "Ingress",
        "Deployment",
        "ControllerRevision",
    ]
    assert claims(planned)["Accepted"] == ("Unknown", "Reconciling")


def test_a_second_look_finds_nothing_to_do() -> None:
    first = plan_of(model())
    children = applied(first)
    pods = [pod(ready(), template=deployed_template(children))]
    second = plan_of(model(), children, pods)
    assert (second.applies, second.deletes, second.requeue_after) == ([], [], None)
    assert claims(second)["Ready"] == ("True", "PredictionsAnswered")
    third = plan_of(model(), children, pods, Memory(UID, status=second.status))
    assert third.status == second.status
    assert third.notes == []


@pytest.mark.feature("conditions")
def test_every_condition_is_there_from_the_first_look_on() -> None:
    planned = plan_of(model(generation=4))
    assert list(claims(planned)) == [
        "Ready",
        "Available",
        "Progressing",
        "Degraded",
        "Accepted",
        "ArtifactResolved",
        "Stalled",
        "RouteReady",
        "ScalingLimited",
        "RolledBack",
        "Paused",
    ]
    assert planned.status["observedGeneration"] == 4
    assert all(item["observedGeneration"] == 4 for item in planned.status["conditions"])


def test_a_value_that_a_webhook_rewrites_is_not_fought_over() -> None:
    children = applied(plan_of(model()))
    body = children[DEPLOYMENT].body
    body["spec"]["template"]["spec"]["containers"][0]["image"] = "mirror.example.com/runtime:1"
    children[DEPLOYMENT] = replace(children[DEPLOYMENT], packed_body=json.dumps(body).encode())
    (again,) = plan_of(model(), children).applies
    assert again.ref == DEPLOYMENT
    image = ".spec.template.spec.containers[runtime].image"
    memory = Memory(UID, status={}, rewritten={DEPLOYMENT: frozenset({(image, "'mirror.example.com/runtime:1'")})})
    assert plan_of(model(), children, memory=memory).applies == []


def test_a_child_is_changed_by_uid_and_made_without_one() -> None:
    children = applied(plan_of(model()))
    assert {item.uid for item in plan_of(model()).applies} == {None}
    changed = plan_of(model(generation=2, traffic={"requestTimeoutSeconds": 60}), children)
    assert {item.ref.kind: item.uid for item in changed.applies} == {
        "ConfigMap": "uid-ConfigMap",
        "Deployment": "uid-Deployment",
        "ControllerRevision": None,
    }


@pytest.mark.feature("deep-check")
def test_nothing_is_touched_while_the_spec_is_not_accepted() -> None:
    children = applied(plan_of(model()))
    held = plan_of(model(generation=2, artifact={"uri": "file:///digits.pt"}), children)
    assert (held.applies, held.deletes) == ([], [])
    assert claims(held)["Accepted"] == claims(held)["Ready"] == ("False", "SchemeNotAllowed")


def test_a_spec_that_cannot_be_read_is_told_by_field() -> None:
    planned = plan_of(model(replicas=-1))
    assert claims(planned)["Accepted"] == ("False", "InvalidSpec")
    accepted = next(item for item in planned.status["conditions"] if item["type"] == "Accepted")
    assert accepted["message"].startswith("spec.replicas: ")
    assert planned.applies == []


def test_an_object_of_a_stranger_is_never_applied_to() -> None:
    stranger = child_record("Service", {"metadata": {"name": "digits", "namespace": "vision", "uid": "other"}})
    planned = plan_of(model(), {SERVICE: stranger})
    assert planned.applies == []
    assert claims(planned)["Accepted"] == ("False", "NameConflict")
    assert planned.requeue_after == 10


def test_a_refused_child_waits_its_time_and_holds_up_what_follows() -> None:
    first = plan_of(model())
    refusal = Refusal(hashes(first)["Service"], "Service is invalid: spec.ports", 1, retry_at=105.0)
    waiting = plan_of(model(), memory=Memory(UID, status={}, refusals={SERVICE: refusal}))
    assert [item.ref.kind for item in waiting.applies] == ["ConfigMap", "ServiceAccount"]
    assert claims(waiting)["Accepted"] == ("False", "ChildRefused")
    assert waiting.requeue_after == 5.0
    due = replace(refusal, retry_at=99.0)
    assert SERVICE in [
        item.ref for item in plan_of(model(), memory=Memory(UID, status={}, refusals={SERVICE: due})).applies
    ]


def test_a_child_that_is_being_deleted_is_waited_for() -> None:
    children = applied(plan_of(model()))
    children[SERVICE] = replace(children[SERVICE], deleting=True)
    planned = plan_of(model(), children)
    assert (planned.applies, planned.deletes) == ([], [])


def test_what_is_no_longer_wanted_is_deleted_by_uid() -> None:
    children = applied(plan_of(model(replicas=2, exposure={"ingress": {}})))
    planned = plan_of(model(generation=2), children)
    assert {(item.ref.kind, item.uid) for item in planned.deletes} == {
        ("PodDisruptionBudget", "uid-PodDisruptionBudget"),
        ("Ingress", "uid-Ingress"),
    }


def test_it_stays_ready_while_the_controller_has_not_seen_a_scaling() -> None:
    children = applied(plan_of(model()))
    pods = [pod(ready(), template=deployed_template(children))]
    before = plan_of(model(), children, pods)
    scaled = model(generation=2, replicas=3)
    apply = plan_of(scaled, children, pods).applies
    unseen = children | {
        item.ref: applied(plan_of(scaled, children, pods), observedGeneration=0, replicas=1, updatedReplicas=1)[
            item.ref
        ]
        for item in apply
    }
    after = plan(observed(scaled, unseen, pods, Memory(UID, status=before.status)), POLICY)
    assert claims(after)["Ready"] == ("True", "PredictionsAnswered")
    assert claims(after)["Progressing"] == ("True", "RollingOut")


def test_it_is_not_ready_while_an_older_pod_serves() -> None:
    children = applied(plan_of(model()))
    new = pod(ready(), template=deployed_template(children))
    old = pod(ready(), template="older", name="digits-0")
    assert claims(plan_of(model(), children, [new, old]))["Ready"] == ("False", "RollingOut")
    leaving = pod(ready(), template="older", name="digits-0", deleting=True)
    assert claims(plan_of(model(), children, [new, leaving]))["Ready"] == ("True", "PredictionsAnswered")


def test_a_template_put_back_by_us_is_not_ready_until_its_pods_are_replaced() -> None:
    children = applied(plan_of(model()), replicas=2, updatedReplicas=1)
    pods = [pod(ready(), template=deployed_template(children))]
    assert claims(plan_of(model(), children, pods))["Ready"] == ("False", "RollingOut")


SPECS: dict[str, dict[str, Any]] = {
    "a scheme that is not allowed": {"artifact": {"uri": "file:///models/digits.pt"}},
    "a spec that cannot be read": {"traffic": {"requestTimeoutSeconds": 0}},
    "a pause": {"paused": True},
    "a spec that can be carried out": {},
}


@pytest.mark.feature("observed-generation")
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_status_is_about_the_generation_that_was_looked_at(spec: dict[str, Any]) -> None:
    planned = plan_of(model(generation=7, **spec))
    assert planned.status["observedGeneration"] == 7
    assert {item["observedGeneration"] for item in planned.status["conditions"]} == {7}


def test_the_transition_time_moves_only_with_the_status() -> None:
    children = applied(plan_of(model()))
    earlier = "2025-12-31T00:00:00Z"
    status = plan_of(model(), children).status
    for item in status["conditions"]:
        item["lastTransitionTime"] = earlier
    pods = [pod(ready(), template=deployed_template(children))]
    after = plan_of(model(), children, pods, Memory(UID, status=status)).status
    moved = {item["type"]: item["lastTransitionTime"] != earlier for item in after["conditions"]}
    assert moved == {
        "Ready": True,
        "Available": True,
        "Progressing": False,
        "Degraded": False,
        "Accepted": False,
        "ArtifactResolved": False,
        "Stalled": False,
        "RouteReady": False,
        "ScalingLimited": False,
        "RolledBack": False,
        "Paused": False,
    }
    assert NOW.strftime("%Y-%m-%dT%H:%M:%SZ") in {item["lastTransitionTime"] for item in after["conditions"]}


def test_nothing_is_touched_while_it_is_paused() -> None:
    children = applied(plan_of(model(replicas=2)))
    planned = plan_of(model(generation=2, paused=True, artifact={"uri": "s3://models/other.pt"}), children)
    assert (planned.applies, planned.deletes) == ([], [])
    assert claims(planned)["Accepted"] == ("Unknown", "Paused")
    assert claims(planned)["Ready"] == ("False", "Paused")
    assert claims(planned)["Progressing"] == ("Unknown", "Paused")
    assert claims(planned)["Paused"] == ("True", "Paused")
    (message,) = {item["message"] for item in planned.status["conditions"] if item["reason"] == "Paused"}
    assert "apply ConfigMap digits-config, Deployment digits" in message
    assert "delete PodDisruptionBudget digits" in message
    assert [note.reason for note in planned.notes].count("Paused") == 1


def test_it_stays_ready_through_a_pause_while_nothing_waits() -> None:
    children = applied(plan_of(model()))
    pods = [pod(ready(), template=deployed_template(children))]
    before = plan_of(model(), children, pods).status
    planned = plan_of(model(generation=2, paused=True), children, pods, Memory(UID, status=before))
    assert claims(planned)["Ready"] == ("True", "PredictionsAnswered")
    assert claims(planned)["Accepted"] == ("True", "Valid")
    assert claims(planned)["Paused"] == ("True", "Paused")


def test_a_change_by_hand_during_a_pause_does_not_make_serving_pods_unready() -> None:
    children = applied(plan_of(model()))
    pods = [pod(ready(), template=deployed_template(children))]
    before = plan_of(model(), children, pods).status
    body = children[DEPLOYMENT].body
    body["spec"]["progressDeadlineSeconds"] = 7
    children[DEPLOYMENT] = replace(children[DEPLOYMENT], packed_body=json.dumps(body).encode())
    paused = model(generation=2, paused=True)
    planned = plan_of(paused, children, pods, Memory(UID, status=before))
    assert planned.applies == []
    assert claims(planned)["Ready"] == ("True", "PredictionsAnswered")
    assert claims(planned)["Accepted"] == ("Unknown", "Paused")
    (repair,) = plan_of(model(generation=3), children, pods, Memory(UID, status=planned.status)).applies
    assert repair.ref == DEPLOYMENT


@pytest.mark.parametrize(
    ("spec", "url"),
    [
        ({}, "http://digits.vision.svc/"),
        ({"exposure": {"service": {"port": 8000}}}, "http://digits.vision.svc:8000/"),
        ({"traffic": {"tls": {"secretName": "pair"}}}, "https://digits.vision.svc:80/"),
        (
            {"traffic": {"tls": {"secretName": "pair"}}, "exposure": {"service": {"port": 443}}},
            "https://digits.vision.svc/",
        ),
    ],
)
def test_the_address_inside_the_cluster_has_scheme_and_port(spec: Any, url: str) -> None:
    assert plan_of(model(**spec)).status["internalURL"] == url


def test_a_url_is_told_only_with_an_address() -> None:
    of = model(exposure={"ingress": {"host": "digits.example.com", "path": "/m", "tls": {"secretName": "tls"}}})
    children = applied(plan_of(of))
    assert "url" not in plan_of(of, children).status
    ingress = ChildRef("Ingress", KEY.name)
    children[ingress] = replace(children[ingress], addresses=("10.0.0.9",))
    assert plan_of(of, children).status["url"] == "https://digits.example.com/m/"
    bare = model(exposure={"ingress": {}})
    children = applied(plan_of(bare))
    children[ingress] = replace(children[ingress], addresses=("fd00::9",))
    assert plan_of(bare, children).status["url"] == "http://[fd00::9]/"


def test_what_an_earlier_spec_may_have_needed_is_looked_up_only_while_a_new_one_is_carried_out() -> None:
    of = model(generation=2, replicas=2)
    wanted = [item.ref for item in plan_of(of).applies]
    looked_up = needless_children(of, wanted, {"observedGeneration": 1})
    assert [ref.kind for ref in looked_up] == ["NetworkPolicy", "Ingress", "HTTPRoute"]
    assert {ref.name for ref in looked_up} == {KEY.name}
    assert needless_children(of, wanted, {"observedGeneration": 2}) == []
    assert needless_children(of, wanted, {}) == []
