"""Revisions on a real API server: kept once, served again by one field, and no pod restarted by an upgrade."""

from __future__ import annotations

from typing import Any

import pytest

from slipway_operator.names import TEMPLATE_HASH_ANNOTATION
from tests.fixtures.objects import Manifest, Objects
from tests.fixtures.operator import RUNTIME_IMAGE, Models, OperatorProcess, condition

pytestmark = pytest.mark.api

NEW_IMAGE = "registry.example.com/slipway-runtime:next"


def revisions(objects: Objects) -> list[Manifest]:
    """Oldest first."""
    found = objects.list("controllerrevision")
    return sorted((item for item in found), key=lambda item: int(item["revision"]))


def image_of(deployment: Manifest) -> str:
    found: str = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    return found


def listed(count: int) -> Any:
    return lambda found: len(found.get("status", {}).get("revisions", [])) == count


def newest_is(number: int) -> Any:
    return lambda found: [item["number"] for item in found.get("status", {}).get("revisions", [])][:1] == [number]


def template_of(objects: Objects) -> Manifest:
    deployment = objects.get("deployment", "digits")
    assert deployment is not None
    found: Manifest = deployment["spec"]["template"]
    return found


@pytest.mark.feature("revision-history")
def test_a_model_is_rolled_back_and_forth_by_one_field(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    models.create()
    objects.wait_for("modeldeployment", "digits", listed(1), what="one revision")
    first = template_of(objects)
    models.change(traffic={"requestTimeoutSeconds": 60})
    found = objects.wait_for("modeldeployment", "digits", listed(2), what="two revisions")
    second = template_of(objects)
    assert [item["number"] for item in found["status"]["revisions"]] == [2, 1]
    assert {item["createdAt"] for item in found["status"]["revisions"]} == {
        item["metadata"]["creationTimestamp"] for item in revisions(objects)
    }

    models.change(rollout={"rollbackTo": 1})
    back = objects.wait_for(
        "modeldeployment",
        "digits",
        lambda found: condition(found["status"], "RolledBack")["status"] == "True",
        what="rolled back",
    )
    assert back["status"]["candidateRevision"] == back["status"]["revisions"][1]["name"]
    assert template_of(objects) == first
    writes = operator.settle()
    models.objects.patch("modeldeployment", "digits", {"metadata": {"labels": {"touched": "yes"}}})
    assert operator.settle() == writes, "a pass that changes nothing writes nothing"

    models.change(rollout={"rollbackTo": None})
    objects.wait_for(
        "modeldeployment",
        "digits",
        lambda found: condition(found["status"], "RolledBack")["status"] == "False",
        what="rolled forth",
    )
    assert template_of(objects) == second
    assert [int(item["revision"]) for item in revisions(objects)] == [1, 2]


def test_a_rollback_to_nothing_is_answered_with_what_there_is(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    models.create()
    objects.wait_for("modeldeployment", "digits", listed(1), what="one revision")
    before = objects.get("deployment", "digits")
    models.change(rollout={"rollbackTo": "digits-0000000000"}, replicas=3)
    refused = objects.wait_for(
        "modeldeployment",
        "digits",
        lambda found: condition(found["status"], "Accepted")["reason"] == "RevisionNotFound",
        what="refused",
    )
    (known,) = revisions(objects)
    message = condition(refused["status"], "Accepted")["message"]
    assert "'digits-0000000000'" in message
    assert known["metadata"]["name"] in message
    after = objects.get("deployment", "digits")
    assert before is not None
    assert after is not None
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


def test_an_upgrade_of_the_operator_restarts_no_pod(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    models.create()
    objects.wait_for("modeldeployment", "digits", listed(1), what="one revision")
    before = objects.get("deployment", "digits")
    assert before is not None
    operator.stop()
    operator.start(SLIPWAY_RUNTIME_IMAGE=NEW_IMAGE)
    models.change(disruption={"maxUnavailable": 2})
    objects.wait_for("modeldeployment", "digits", listed(2), what="the change seen")
    operator.settle()
    after = objects.get("deployment", "digits")
    assert after is not None
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert image_of(after) == RUNTIME_IMAGE

    models.change(traffic={"requestTimeoutSeconds": 60})
    objects.wait_for("deployment", "digits", lambda found: image_of(found) == NEW_IMAGE, what="the new image")


def test_an_installation_may_roll_every_model_at_an_upgrade(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    models.create()
    objects.wait_for("modeldeployment", "digits", listed(1), what="one revision")
    operator.stop()
    operator.start(SLIPWAY_RUNTIME_IMAGE=NEW_IMAGE, SLIPWAY_RUNTIME_UPGRADE_POLICY="Always")
    objects.wait_for("deployment", "digits", lambda found: image_of(found) == NEW_IMAGE, what="the new image")
    objects.wait_for("modeldeployment", "digits", listed(2), what="a revision of it")
    models.change(rollout={"rollbackTo": 1})
    objects.wait_for("deployment", "digits", lambda found: image_of(found) == RUNTIME_IMAGE, what="the old image")


def test_history_is_bounded_and_put_back(models: Models, objects: Objects, operator: OperatorProcess) -> None:
    models.create(rollout={"revisionHistoryLimit": 1})
    for step in range(3):
        models.change(traffic={"requestTimeoutSeconds": 40 + step})
        objects.wait_for("modeldeployment", "digits", newest_is(step + 2), what="the change kept")
    operator.settle()
    assert [int(item["revision"]) for item in revisions(objects)] == [3, 4]
    newest = revisions(objects)[-1]
    annotations = newest["data"]["pods"]["template"]["metadata"]["annotations"]
    assert (
        annotations[TEMPLATE_HASH_ANNOTATION]
        == template_of(objects)["metadata"]["annotations"][TEMPLATE_HASH_ANNOTATION]
    )
    objects.delete("controllerrevision", newest["metadata"]["name"])
    objects.wait_for(
        "controllerrevision",
        newest["metadata"]["name"],
        lambda found: found["metadata"]["uid"] != newest["metadata"]["uid"] and found["data"] == newest["data"],
        what="made again",
    )
