"""Whoever changes or deletes a child is told what became of it; nobody else is."""

from __future__ import annotations

import json
from typing import Final

import pytest

from slipway_operator.repairs import FIGHT
from tests.fixtures.objects import Manifest, Objects
from tests.fixtures.operator import Models, OperatorProcess
from tests.fixtures.waiting import wait_until

pytestmark = pytest.mark.api

HIDDEN: Final = "hunter2-do-not-tell-me"


def repairs(operator: OperatorProcess, kind: str, cause: str) -> float:
    return operator.metric(f'repairs_total{{cause="{cause}",kind="{kind}"}}')


def wait_events(objects: Objects, count: int) -> list[Manifest]:
    """Of repairs; as many as there are different ones."""

    def found() -> list[Manifest]:
        return [item for item in objects.list("events") if item["reason"] == "Repaired"]

    wait_until(lambda: len(found()) >= count, lambda: f"{count} events, there are {found()}")
    return found()


def log_of(operator: OperatorProcess) -> list[tuple[str, str]]:
    lines = [json.loads(text) for text in operator.log.read_text().splitlines()]
    return [(line["level"], line["msg"]) for line in lines if line["msg"].startswith("put back")]


def put_back(objects: Objects, manager: str, **spec: object) -> None:
    objects.patch("deployment", "digits", {"spec": spec}, f"--field-manager={manager}")
    objects.wait_for("deployment", "digits", lambda found: found["spec"]["replicas"] == 1, what="put back")


@pytest.mark.feature("drift")
def test_who_edits_or_deletes_a_child_is_told_in_an_event_the_log_and_a_metric(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    models.create(runtime={"env": [{"name": "LEVEL", "value": HIDDEN}]})
    operator.settle()
    template = {
        "spec": {"containers": [{"name": "runtime", "image": "x:1", "env": [{"name": "LEVEL", "value": "no"}]}]}
    }
    put_back(objects, "tuner", replicas=3, template=template)
    operator.settle()
    objects.delete("service", "digits")
    objects.wait_for("service", "digits", lambda found: True, what="made anew")
    operator.settle()

    deleted, edited = sorted(wait_events(objects, 2), key=lambda item: "tuner" in item["message"])
    assert "Service digits, which was deleted" in deleted["message"]
    assert "Deployment digits, of which spec.replicas, spec.template differed" in edited["message"]
    assert "tuner" in edited["message"]
    assert {item["type"] for item in (deleted, edited)} == {"Normal"}
    assert {item["involvedObject"]["name"] for item in (deleted, edited)} == {"digits"}
    (first, second) = log_of(operator)
    assert first[1].startswith("put back Deployment digits, of which spec.replicas, spec.template differed")
    assert "tuner" in first[1]
    assert second == ("INFO", "put back Service digits, which was deleted")
    assert repairs(operator, "Deployment", "changed") == 1
    assert repairs(operator, "Service", "deleted") == 1
    assert HIDDEN not in operator.log.read_text() + json.dumps([deleted, edited])


@pytest.mark.feature("drift")
def test_another_writer_that_does_not_give_in_is_told_as_a_warning(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    models.create()
    operator.settle()
    for replicas in range(2, 2 + FIGHT):
        objects.kubectl("scale", "deployment", "digits", f"--replicas={replicas}")
        objects.wait_for("deployment", "digits", lambda found: found["spec"]["replicas"] == 1, what="put back")
        operator.settle(0.5)
    found = {item["type"]: item for item in wait_events(objects, 2)}
    assert found["Normal"]["count"] == FIGHT - 1
    assert "again and again: Deployment digits, of which spec.replicas differed" in found["Warning"]["message"]
    assert [level for level, _ in log_of(operator)] == ["INFO"] * (FIGHT - 1) + ["WARNING"]
    assert repairs(operator, "Deployment", "changed") == FIGHT


def test_what_the_operator_or_the_spec_changes_is_no_repair(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    models.create(replicas=2, exposure={"ingress": {"host": "digits.example.com"}})
    operator.settle()
    models.change(replicas=1, exposure=None, traffic={"requestTimeoutSeconds": 60})
    objects.wait_gone("ingress", "digits")
    operator.settle()
    models.change(replicas=2, exposure={"ingress": {"host": "digits.example.com"}})
    objects.wait_for("ingress", "digits", lambda found: True, what="made anew")
    operator.settle()
    operator.stop()
    operator.start(SLIPWAY_RUNTIME_IMAGE="registry.example.com/newer:1", SLIPWAY_RUNTIME_UPGRADE_POLICY="Always")
    objects.wait_for("deployment", "digits", lambda found: "newer:1" in json.dumps(found), what="upgraded")
    operator.settle()
    assert [item for item in objects.list("events") if item["reason"] == "Repaired"] == []
    assert log_of(operator) == []
    assert repairs(operator, "Deployment", "changed") == repairs(operator, "Ingress", "deleted") == 0
