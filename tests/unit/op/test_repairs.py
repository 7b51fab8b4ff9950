"""Repairs: what counts as one, whom it names, and how seldom it is told."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from slipway_operator.cache import Cache, Memory
from slipway_operator.names import COMPONENT, MANIFEST_HASH_ANNOTATION
from slipway_operator.packing import packed
from slipway_operator.plan import Plan, plan
from slipway_operator.records import ChildRecord, child_record
from slipway_operator.render.manifest import Manifest, RenderSettings
from slipway_operator.repairs import (
    FIELDS_LIMIT,
    FIGHT,
    PACE_SECONDS,
    QUIET_SECONDS,
    Damage,
    Repair,
    Repeats,
    count,
    repair_of,
    words,
)
from slipway_operator.resources import ChildRef
from tests.unit.op.observations import KEY, POLICY, applied, model, observed, plan_of

pytestmark = pytest.mark.unit

DEPLOYMENT = ChildRef("Deployment", "digits")
SERVICE = ChildRef("Service", "digits")
CHANGED = Repair(DEPLOYMENT, "changed", ("spec.replicas",), "kube-controller-manager")


def edited(children: dict[ChildRef, ChildRecord], ref: ChildRef, body: Manifest, **more: Any) -> None:
    """Somebody writes this body."""
    children[ref] = replace(children[ref], packed_body=packed(body), **more)


def damages(planned: Plan) -> dict[ChildRef, Damage]:
    return {item.ref: item.damage for item in planned.applies if item.damage is not None}


def told_edit(body: Manifest, children: dict[ChildRef, ChildRecord], ref: ChildRef = DEPLOYMENT) -> Repair:
    edited(children, ref, body, last_writer="tuner")
    repair = repair_of(ref, damages(plan_of(model(), children))[ref], frozenset())
    assert repair is not None
    return repair


def test_a_first_apply_is_no_repair() -> None:
    assert damages(plan_of(model())) == {}


def test_an_edit_of_the_spec_is_no_repair() -> None:
    children = applied(plan_of(model()))
    planned = plan_of(model(generation=2, traffic={"requestTimeoutSeconds": 60}), children)
    assert DEPLOYMENT in [item.ref for item in planned.applies]
    assert damages(planned) == {}


def test_another_image_of_the_installation_is_no_repair() -> None:
    children = applied(plan_of(model()))
    newer = replace(POLICY, render=RenderSettings("registry.example.com/runtime:2", always_upgrade=True))
    planned = plan(observed(model(), children), newer)
    assert DEPLOYMENT in [item.ref for item in planned.applies]
    assert damages(planned) == {}


def test_a_changed_child_is_told_with_its_fields_and_its_writer_and_without_a_value() -> None:
    given = {"runtime": {"env": [{"name": "PASSWORD_FILE", "value": "/keys/old"}]}}
    children = applied(plan_of(model(**given)))
    body = children[DEPLOYMENT].body
    body["spec"]["replicas"] = 7
    body["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "PASSWORD_FILE", "value": "hunter2"}]
    edited(children, DEPLOYMENT, body, last_writer="tuner")
    damage = damages(plan_of(model(**given), children))[DEPLOYMENT]
    repair = repair_of(DEPLOYMENT, damage, frozenset())
    assert repair == Repair(DEPLOYMENT, "changed", ("spec.replicas", "spec.template"), "tuner")
    for text in (str(repair), words(repair, Repeats(1, 0, 0)), words(repair, Repeats(FIGHT, 0, 0))):
        assert "Deployment digits" in text
        assert "spec.replicas, spec.template" in text
        assert "tuner" in text
        assert not any(hidden in text for hidden in ("PASSWORD_FILE", "hunter2", "/keys/old", "7"))


def test_keys_that_somebody_chose_are_not_told() -> None:
    children = applied(plan_of(model()))
    config_map = ChildRef("ConfigMap", "digits-config")
    body = children[config_map].body
    body["data"] = dict.fromkeys(body["data"], "{}")
    assert told_edit(body, children, config_map).fields == ("data",)


def test_many_fields_are_counted() -> None:
    many = Repair(SERVICE, "changed", tuple(f"spec.field{index}" for index in range(FIELDS_LIMIT + 2)), "tuner")
    assert "spec.field4 and 2 more" in str(many)
    assert "spec.field5" not in str(many)


def test_a_child_that_was_replaced_whole_with_our_mark_is_put_back_as_a_repair() -> None:
    children = applied(plan_of(model()))
    body = copy.deepcopy(children[SERVICE].body)
    del body["metadata"]["annotations"][MANIFEST_HASH_ANNOTATION]
    edited(children, SERVICE, body, manifest_hash=None, applied_by_us=True)
    assert damages(plan_of(model(), children)).keys() == {SERVICE}


def test_what_a_webhook_writes_in_place_of_ours_is_no_repair_however_often_it_differs() -> None:
    """After each start of the operator it is applied once, and nothing comes of it."""
    image = ".spec.template.spec.containers[runtime].image"
    damage = Damage(deleted=False, before=frozenset({(image, "'mirror/x@1'"), (".spec.replicas", "7")}), writer="tuner")
    assert (
        repair_of(
            DEPLOYMENT,
            replace(damage, before=frozenset({(image, "'mirror/x@1'")})),
            frozenset({(image, "'mirror/x@2'")}),
        )
        is None
    )
    repair = repair_of(DEPLOYMENT, damage, frozenset({(image, "'mirror/x@2'")}))
    assert repair is not None
    assert repair.fields == ("spec.replicas",)


def cache_of(children: dict[ChildRef, ChildRecord], generation: int = 1) -> tuple[Cache, Memory]:
    """With children of the model, which a status of this generation was written for."""
    cache = Cache()
    memory = cache.memory(model(generation, status={"observedGeneration": generation}))
    for record in children.values():
        cache.put_child(KEY, record)
    return cache, memory


def test_a_deleted_child_is_told_as_that() -> None:
    children = applied(plan_of(model()))
    cache, memory = cache_of(children)
    cache.remove_child(KEY, SERVICE, "uid-Service", 21)
    found = damages(plan_of(model(), cache.children(KEY), memory=memory))
    assert found == {SERVICE: Damage(deleted=True)}
    assert str(repair_of(SERVICE, found[SERVICE], frozenset())) == "Service digits, which was deleted"


def test_a_deletion_that_no_event_told_is_found_by_the_sweep() -> None:
    children = applied(plan_of(model()))
    cache, memory = cache_of(children)
    cache.retain_children("Service", set(), 21, None)
    assert damages(plan_of(model(), cache.children(KEY), memory=memory)).keys() == {SERVICE}


def test_a_child_that_a_spec_gave_up_and_another_wants_again_is_no_repair() -> None:
    exposed = {"exposure": {"ingress": {"host": "digits.example.com"}}}
    ingress = ChildRef("Ingress", "digits")
    children = applied(plan_of(model(**exposed)))
    cache, memory = cache_of(children, generation=2)
    cache.remove_child(KEY, ingress, "uid-Ingress", 21)
    again = model(3, **exposed)
    planned = plan_of(again, cache.children(KEY), memory=memory)
    assert ingress in [item.ref for item in planned.applies]
    assert damages(planned) == {}
    assert cache.memory(again).gone == frozenset()


def test_a_stranger_that_goes_away_is_no_repair() -> None:
    children = applied(plan_of(model()))
    children[SERVICE] = replace(children[SERVICE], owner_uid="another")
    cache, memory = cache_of(children)
    cache.remove_child(KEY, SERVICE, "uid-Service", 21)
    assert memory.gone == frozenset()


def entry(manager: str, time: str, subresource: str | None = None) -> Manifest:
    found = {"manager": manager, "operation": "Update", "time": f"2026-01-01T{time}Z"}
    return found | ({"subresource": subresource} if subresource else {})


@pytest.mark.parametrize(
    ("entries", "writer"),
    [
        ([], ""),
        ([entry(COMPONENT, "12:00:00"), entry("kube-controller-manager", "12:00:01", "status")], ""),
        ([entry("kubectl-edit", "11:00:00"), entry(COMPONENT, "12:00:00")], "kubectl-edit"),
        (
            [entry("kubectl-edit", "11:00:00"), entry("kube-controller-manager", "11:00:01", "scale")],
            "kube-controller-manager",
        ),
        ([entry("tuner", "11:00:02"), entry("kubectl-edit", "11:00:01")], "tuner"),
    ],
)
def test_the_writer_is_the_last_one_besides_us_and_those_of_the_status(entries: list[Manifest], writer: str) -> None:
    metadata = {"name": "digits", "namespace": "vision", "uid": "d", "managedFields": entries}
    assert child_record("Deployment", {"metadata": metadata}).last_writer == writer


def test_a_fight_is_told_at_once_and_then_once_in_a_while() -> None:
    repeats: Repeats | None = None
    told: list[float] = []
    for second in range(3600):
        repeats, tell = count(repeats, float(second))
        told += [float(second)] if tell else []
    assert told[:FIGHT] == [0, 1, 2]
    assert told[FIGHT:] == [2 + PACE_SECONDS * turn for turn in range(1, len(told) - FIGHT + 1)]
    assert len(told) == FIGHT + 11
    assert repeats is not None
    assert repeats.count == 3600


def test_repairs_far_apart_are_no_fight() -> None:
    first, _ = count(None, 0.0)
    later, told = count(first, QUIET_SECONDS)
    assert (later.count, told) == (1, True)
    assert "again" not in words(CHANGED, later)


def test_events_of_one_fight_are_one_event() -> None:
    assert words(CHANGED, Repeats(FIGHT, 0, 0)) == words(CHANGED, Repeats(FIGHT + 100, 9, 9))
