"""What the operator logs: JSON, about an object with its whole identity, and never what a user keeps secret."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from tests.fixtures.objects import Objects
from tests.fixtures.operator import Models, OperatorProcess

pytestmark = pytest.mark.api

SECRET: Final = "hunter2-do-not-log-me"
ABOUT: Final = ("namespace", "name", "uid", "generation")
LEVELS: Final = {"DEBUG", "INFO", "WARNING", "ERROR"}


def lines(operator: OperatorProcess) -> list[dict[str, Any]]:
    """A line that is no JSON object is an error here."""
    return [json.loads(text) for text in operator.log.read_text().splitlines()]


def test_every_line_is_json_and_says_which_object_it_is_about(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    uid = models.create()["metadata"]["uid"]
    models.wait_condition("Accepted", "True", "Valid")
    models.change(replicas=2)
    models.wait_condition("Accepted", "True", "Valid")
    objects.delete("service", "digits")
    objects.wait_for("service", "digits", lambda found: True, what="made anew")
    # A quota that leaves no room: the API server refuses a child, which is worth a warning.
    objects.create(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "full"},
            "spec": {"hard": {"services": "1", "configmaps": "0"}},
        }
    )
    models.create("second")
    models.wait("refused", _refused, "second")
    operator.settle()
    found = lines(operator)
    for line in found:
        assert {"ts", "level", "logger", "msg"} <= line.keys()
        assert line["level"] in LEVELS
    about = [line for line in found if "name" in line]
    first = [line for line in about if line["name"] == "digits"]
    assert {line["generation"] for line in first} == {1, 2}
    for line in about:
        assert all(line.get(name) for name in ABOUT), line
        assert line["namespace"] == objects.namespace
    assert {line["uid"] for line in first} == {uid}
    assert any(line["msg"] == "applying Service digits" for line in first)
    refusals = [line for line in about if line["level"] == "WARNING"]
    assert refusals
    assert all(line["name"] == "second" for line in refusals)
    # Nothing that names an object in its words alone.
    assert [line for line in found if "name" not in line and ("digits" in line["msg"] or "second" in line["msg"])] == []


def _refused(status: dict[str, Any]) -> bool:
    return any(item["type"] == "Accepted" and item["status"] == "False" for item in status["conditions"])


def test_nothing_that_a_user_keeps_secret_is_logged_even_at_debug_level(
    models: Models, objects: Objects, stopped_operator: OperatorProcess
) -> None:
    objects.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "store"},
            "stringData": {"AWS_SECRET_ACCESS_KEY": SECRET},
        }
    )
    stopped_operator.start(SLIPWAY_LOG_LEVEL="DEBUG")
    models.create(
        artifact={
            "uri": f"https://models.example.com/m.pt?X-Amz-Signature={SECRET}",
            "credentials": {"secretRef": {"name": "store"}},
        },
        runtime={"env": [{"name": "TOKEN", "value": SECRET}]},
    )
    models.wait("looked at", lambda status: True)
    models.change(replicas=3)
    models.wait("looked at again", lambda status: True)
    stopped_operator.settle()
    text = stopped_operator.log.read_text()
    assert '"level": "DEBUG"' in text
    assert SECRET not in text
    model = objects.get("modeldeployment", "digits")
    assert model is not None
    assert SECRET not in json.dumps(model["status"])
    assert SECRET not in json.dumps(objects.list("events"))
