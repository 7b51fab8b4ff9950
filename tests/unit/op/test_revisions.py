"""Accepted specs are kept, served again on demand, and their pods outlive a new operator."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from slipway_operator.plan import Policy
from slipway_operator.records import ChildRecord
from slipway_operator.render.manifest import Manifest, RenderSettings
from slipway_operator.resources import ChildRef
from tests.unit.op.observations import KEY, POLICY, UID, Children, carried_out, claims, model

pytestmark = pytest.mark.unit

DEPLOYMENT = ChildRef("Deployment", KEY.name)
NEWER = Policy(RenderSettings("registry.example.com/runtime:2"), POLICY.allowed_schemes)


def after(*specs: dict[str, Any], policy: Policy = POLICY) -> Children:
    children: Children = {}
    for generation, spec in enumerate(specs, start=1):
        _, children = carried_out(model(generation=generation, **spec), children, policy)
    return children


def revisions(children: Children) -> dict[str, Manifest]:
    """Bodies by name, oldest first."""
    found = {ref.name: record.body for ref, record in children.items() if ref.kind == "ControllerRevision"}
    return dict(sorted(found.items(), key=lambda item: item[1]["revision"]))


def pods_of(children: Children) -> Manifest:
    found: Manifest = children[DEPLOYMENT].body["spec"]["template"]
    return found


def image_of(children: Children) -> str:
    found: str = pods_of(children)["spec"]["containers"][0]["image"]
    return found


SLOW = {"traffic": {"requestTimeoutSeconds": 60}}
SLOWER = {"traffic": {"requestTimeoutSeconds": 90}}


@pytest.mark.feature("revision-history")
def test_each_accepted_spec_is_kept_once_with_a_number() -> None:
    children = after({}, SLOW, SLOW, SLOWER)
    kept = revisions(children)
    assert [item["revision"] for item in kept.values()] == [1, 2, 3]
    assert [item["data"]["spec"].get("traffic") for item in kept.values()] == [None, SLOW["traffic"], SLOWER["traffic"]]
    for item in kept.values():
        (owner,) = item["metadata"]["ownerReferences"]
        assert owner["uid"] == UID


@pytest.mark.parametrize("spec", [{"replicas": 3}, {"paused": False}, {"rollout": {"revisionHistoryLimit": 9}}])
def test_what_steers_the_object_makes_no_revision(spec: dict[str, Any]) -> None:
    assert list(revisions(after({}, spec))) == list(revisions(after({})))


def test_a_field_written_with_its_default_makes_no_revision() -> None:
    assert len(revisions(after({"artifact": {"uri": "s3://models/digits.pt", "format": "Auto"}}, {}))) == 1


def test_a_spec_that_is_returned_to_becomes_the_newest_under_its_old_name() -> None:
    first = list(revisions(after({})))
    kept = revisions(after({}, SLOW, {}))
    assert list(kept)[-1:] == first
    assert [item["revision"] for item in kept.values()] == [2, 3]


def test_a_spec_that_is_not_accepted_is_not_kept() -> None:
    refused = {"artifact": {"uri": "file:///digits.pt"}}
    assert list(revisions(after({}, refused))) == list(revisions(after({})))


def test_as_many_older_revisions_are_kept_as_the_limit_says_and_always_the_stable_one() -> None:
    specs = [
        {"traffic": {"requestTimeoutSeconds": 30 + step}, "rollout": {"revisionHistoryLimit": 2}} for step in range(5)
    ]
    assert [item["revision"] for item in revisions(after(*specs)).values()] == [3, 4, 5]
    children = after(specs[0])
    (stable,) = revisions(children)
    for generation, spec in enumerate(specs[1:], start=2):
        _, children = carried_out(model(generation=generation, **spec), children, stable=stable)
    assert [item["revision"] for item in revisions(children).values()] == [1, 3, 4, 5]


@pytest.mark.feature("revision-history")
@pytest.mark.parametrize("by", ["number", "name"])
def test_one_field_serves_an_older_revision_until_it_is_removed(by: str) -> None:
    old: dict[str, Any] = {"artifact": {"uri": "s3://models/old.pt"}, "replicas": 1}
    new: dict[str, Any] = {"artifact": {"uri": "s3://models/new.pt"}, "replicas": 4}
    children = after(old, new)
    wanted = pods_of(after(old))
    name, *_ = revisions(children)
    back = model(generation=3, **new, rollout={"rollbackTo": 1 if by == "number" else name})
    _, served = carried_out(back, children)
    assert pods_of(served) == wanted
    assert served[DEPLOYMENT].body["spec"]["replicas"] == 4, "the number of pods is no part of a revision"
    assert list(revisions(served)) == list(revisions(children))
    configuration = served[ChildRef("ConfigMap", "digits-config")].body["data"]
    assert any("s3://models/old.pt" in text for text in configuration.values())
    _, without_spares = carried_out(back, served)
    settled, _ = carried_out(back, without_spares)
    assert (settled.applies, settled.deletes) == ([], [])
    assert claims(settled)["RolledBack"] == ("True", "RollbackRequested")
    _, forward = carried_out(model(generation=4, **new), served)
    assert pods_of(forward) == pods_of(children)
    assert [item["revision"] for item in revisions(forward).values()] == [1, 2]


def test_a_rollback_to_what_is_not_kept_changes_nothing_and_says_what_is() -> None:
    children = after({}, SLOW)
    planned, _ = carried_out(model(generation=3, rollout={"rollbackTo": 7}, **SLOWER), children)
    assert (planned.applies, planned.deletes) == ([], [])
    assert claims(planned)["Accepted"] == claims(planned)["Ready"] == ("False", "RevisionNotFound")
    (message,) = {item["message"] for item in planned.status["conditions"] if item["type"] == "Accepted"}
    for words in ("spec.rollout.rollbackTo", "'7'", *revisions(children)):
        assert words in message


def test_the_status_lists_the_kept_revisions_and_tells_stable_from_candidate() -> None:
    children = {ref: _created(record) for ref, record in after({}, SLOW).items()}
    first, second = revisions(children)
    planned, _ = carried_out(model(generation=2, **SLOW), children, stable=first)
    assert [(item["name"], item["number"]) for item in planned.status["revisions"]] == [(second, 2), (first, 1)]
    assert {item["image"] for item in planned.status["revisions"]} == {"registry.example.com/runtime:1"}
    assert (planned.status["stableRevision"], planned.status["candidateRevision"]) == (first, second)


def _created(record: ChildRecord) -> ChildRecord:
    body = record.body
    body["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    return replace(record, packed_body=json.dumps(body).encode())


def test_another_default_image_restarts_no_pod() -> None:
    children = after({})
    planned, same = carried_out(model(), children, NEWER)
    assert (planned.applies, planned.deletes) == ([], [])
    assert image_of(same) == "registry.example.com/runtime:1"


def test_a_change_that_does_not_concern_the_pods_takes_no_new_image() -> None:
    children = after({})
    planned, changed = carried_out(model(generation=2, disruption={"maxUnavailable": 2}), children, NEWER)
    assert [item.ref.kind for item in planned.applies] == ["ControllerRevision"]
    assert pods_of(changed) == pods_of(children)
    assert list(revisions(changed).values())[-1]["data"]["pods"]["template"] == pods_of(children)


def test_the_next_change_of_the_pods_takes_the_new_image() -> None:
    _, changed = carried_out(model(generation=2, **SLOW), after({}), NEWER)
    assert image_of(changed) == "registry.example.com/runtime:2"


def test_a_rollback_brings_the_image_back() -> None:
    _, changed = carried_out(model(generation=2, **SLOW), after({}), NEWER)
    _, back = carried_out(model(generation=3, rollout={"rollbackTo": 1}, **SLOW), changed, NEWER)
    assert image_of(back) == "registry.example.com/runtime:1"


def test_an_installation_may_take_up_a_new_image_at_once() -> None:
    always = Policy(replace(NEWER.render, always_upgrade=True), POLICY.allowed_schemes)
    children = after({})
    _, changed = carried_out(model(), children, always)
    assert image_of(changed) == "registry.example.com/runtime:2"
    assert [item["revision"] for item in revisions(changed).values()] == [1, 2]
    settled, _ = carried_out(model(), changed, always)
    assert (settled.applies, settled.deletes) == ([], [])


def test_a_template_changed_by_hand_is_put_back_to_the_kept_one() -> None:
    children = after({})
    record = children[DEPLOYMENT]
    children[DEPLOYMENT] = replace(record, packed_body=record.packed_body.replace(b"runtime:1", b"evil:1"))
    (repair,) = carried_out(model(), children, NEWER)[0].applies
    assert repair.manifest["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example.com/runtime:1"


def test_a_revision_that_holds_nothing_of_ours_is_removed() -> None:
    children = after({})
    (name,) = revisions(children)
    ref = ChildRef("ControllerRevision", name)
    broken = replace(
        children[ref], ref=ChildRef("ControllerRevision", "digits-x"), packed_body=b'{"metadata":{},"data":{}}'
    )
    planned, _ = carried_out(model(), children | {broken.ref: broken})
    assert [item.ref for item in planned.deletes] == [broken.ref]
