"""The judge of `make chaos` reads in the API server's audit log what was created twice."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.audit import AuditLog, deeds, judge, trail
from tests.cluster.errors import ClusterError
from tests.fixtures.objects import Manifest

pytestmark = pytest.mark.unit

OPERATOR = "system:serviceaccount:slipway-system:slipway-operator"
USER = "kubernetes-admin"
COLLECTOR = "system:serviceaccount:kube-system:generic-garbage-collector"
NO_NEED: Counter[tuple[str, str]] = Counter()


class Log:
    """Lines as kube-apiserver writes them, a microsecond apart."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def make(self, uid: str, *, plural: str = "services", owner: str = "u1", code: int = 201, **more: Any) -> Log:
        reference = {"kind": "ModelDeployment", "name": "alpha", "uid": owner, "controller": True}
        metadata = {"name": "alpha", "uid": uid, "ownerReferences": [reference]}
        return self._request(OPERATOR, "patch", plural, code, {"metadata": metadata}, **more)

    def delete(self, uid: str, by: str = USER, *, plural: str = "services", code: int = 200, **more: Any) -> Log:
        return self._request(by, "delete", plural, code, {"kind": "Status", "details": {"uid": uid}}, **more)

    def _request(
        self, user: str, verb: str, plural: str, code: int, result: Manifest, *, answered: bool = True, query: str = ""
    ) -> Log:
        group = {"deployments": "apps", "modeldeployments": "slipway.dev"}.get(plural, "")
        target = {"resource": plural, "namespace": "n", "name": "alpha", "apiGroup": group}
        number = len(self.events)
        event = {
            "kind": "Event",
            "auditID": f"request {number}",
            "requestURI": f"/api/v1/namespaces/n/{plural}/alpha?{query}",
            "verb": verb,
            "user": {"username": user},
            "objectRef": {name: value for name, value in target.items() if value},
        }
        at = f"2026-01-01T00:00:00.{number:06}Z"
        self.events.append(event | {"stage": "RequestReceived", "stageTimestamp": at})
        if answered:
            answer = {"responseStatus": {"code": code}, "responseObject": result}
            self.events.append(event | {"stage": "ResponseComplete", "stageTimestamp": at} | answer)
        return self

    def violations(self, live: tuple[Manifest, ...] = (), needless: Counter[tuple[str, str]] = NO_NEED) -> list[str]:
        return judge(deeds(self.events)["n"], live, needless).violations


def test_what_was_made_again_after_somebody_deleted_it_was_not_created_twice() -> None:
    log = Log().make("a").delete("a").make("b")
    account = judge(deeds(log.events)["n"], [], NO_NEED)
    assert (account.created, account.created_again, account.violations) == (2, 1, [])


def test_a_second_creation_that_nobody_made_room_for_is_seen() -> None:
    found = Log().make("a").make("b").violations()
    assert len(found) == 1
    assert found[0].startswith("Service alpha was created 2 times for the same owner, and not deleted")


def test_another_owner_of_the_same_name_has_children_of_its_own() -> None:
    log = Log().make("a").delete("u1", plural="modeldeployments").delete("a", COLLECTOR).make("b", owner="u2")
    assert log.violations() == []


def test_tries_and_changes_and_refusals_create_nothing() -> None:
    log = Log().make("a").make("b", query="dryRun=All").make("a", code=200).make("", code=409)
    assert log.violations() == []


def test_an_answer_that_was_lost_with_its_server_may_stand_for_the_deletion() -> None:
    log = Log().make("a").delete("", answered=False).make("b")
    account = judge(deeds(log.events)["n"], [], NO_NEED)
    assert (account.violations, account.unanswered) == ([], 1)
    assert Log().make("a").delete("", code=504).make("b").violations() == []
    assert Log().make("a").delete("", answered=False).make("b").make("c").violations()


def test_the_operator_may_delete_what_was_switched_off_and_no_more() -> None:
    log = Log().make("a").delete("a", OPERATOR).make("b")
    assert log.violations() == [
        "the operator deleted the Service of alpha 1 times, and at most 0 acts made it needless"
    ]
    assert log.violations(needless=Counter({("alpha", "Service"): 1})) == []


def test_a_child_that_was_collected_from_under_its_owner_is_seen() -> None:
    assert "had not been deleted" in Log().make("a").delete("a", COLLECTOR).make("b").violations()[0]


def test_a_log_that_does_not_tell_of_what_is_there_is_not_believed() -> None:
    owner = {"kind": "ModelDeployment", "name": "alpha", "uid": "u1", "controller": True}
    child = {"kind": "Service", "metadata": {"name": "alpha", "uid": "a", "ownerReferences": [owner]}}
    assert Log().make("b").violations((child,)) == ["the audit log does not tell who made Service alpha"]
    assert Log().make("a").violations((child,)) == []
    assert Log().make("", answered=False).violations((child,)) == []


def test_a_failed_seed_is_told_with_what_was_done_to_the_object() -> None:
    log = Log().make("a").make("p", plural="configmaps").delete("a", OPERATOR).delete("", answered=False)
    told = deeds(log.events)["n"]
    assert [
        line.partition("  ")[2] for line in trail(told, ["Service alpha is gone, which is not the operator's"])
    ] == [
        f"patch of Service alpha a by {OPERATOR}: 201",
        f"delete of Service alpha a by {OPERATOR}: 200",
        f"delete of Service alpha  by {USER}: no answer",
    ]
    assert trail(told, ["Service alpha-2 is gone"]) == trail(told, []) == []


def test_the_log_is_read_on_over_a_killed_server(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    first, second, third = (json.dumps({"kind": "Event", "auditID": str(n)}, separators=(",", ":")) for n in range(3))
    log = AuditLog(path)
    path.write_text(f"{first}\n{second}")
    assert [event["auditID"] for event in log.read()] == ["0"]
    path.write_text(f"{first}\n{second[:20]}{third}\n")
    assert [event["auditID"] for event in log.read()] == ["2"]
    assert (log.torn, log.read()) == (1, [])
    path.write_text("")
    with pytest.raises(ClusterError, match="another log was begun"):
        log.read()
