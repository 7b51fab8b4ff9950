"""The cache: late and lost news do no harm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from slipway_operator.cache import Cache, Refusal
from slipway_operator.records import ChildRecord, child_record
from slipway_operator.resources import ChildRef, Key
from tests.unit.op.observations import KEY, model

pytestmark = pytest.mark.unit

REF = ChildRef("Service", "digits")


def service(version: int, uid: str = "s", **spec: Any) -> ChildRecord:
    return child_record(
        "Service",
        {
            "metadata": {"name": "digits", "namespace": "vision", "uid": uid, "resourceVersion": str(version)},
            "spec": spec,
        },
    )


def test_older_news_do_not_undo_newer() -> None:
    cache = Cache()
    assert cache.put_child(KEY, service(5, type="NodePort"))
    assert not cache.put_child(KEY, service(4, type="ClusterIP"))
    assert cache.children(KEY)[REF].body["spec"] == {"type": "NodePort"}


def test_news_without_a_difference_are_no_news() -> None:
    cache = Cache()
    cache.put_child(KEY, service(5))
    assert not cache.put_child(KEY, service(6))


def test_a_late_answer_does_not_revive_what_was_deleted() -> None:
    cache = Cache()
    cache.put_child(KEY, service(5))
    assert cache.remove_child(KEY, REF, "s", 6)
    assert not cache.put_child(KEY, service(5))
    assert cache.children(KEY) == {}


def test_an_object_that_left_our_sight_by_its_labels_may_come_back() -> None:
    cache = Cache()
    cache.put_child(KEY, service(5))
    cache.remove_child(KEY, REF, "s", 6)
    assert cache.put_child(KEY, service(7))


def test_a_list_removes_what_it_lacks_but_not_what_is_younger() -> None:
    cache = Cache()
    cache.put_child(KEY, service(5))
    assert cache.retain_children("Service", set(), 4, None) == set()
    assert cache.retain_children("Service", set(), 5, "elsewhere") == set()
    assert cache.retain_children("Service", {"s"}, 9, None) == set()
    assert cache.retain_children("Service", set(), 9, None) == {KEY}
    assert cache.children(KEY) == {}


def test_a_new_generation_forgets_every_refusal() -> None:
    cache = Cache()
    memory = cache.memory(model(generation=1))
    memory.refusals[REF] = Refusal("hash", "no", 3, 1e9)
    assert cache.memory(model(generation=1)).refusals
    assert not cache.memory(model(generation=2)).refusals


def test_a_change_of_a_child_forgets_why_it_was_refused_and_its_state_alone_does_not() -> None:
    cache = Cache()
    refusals = cache.memory(model()).refusals

    def after(act: Callable[[], object]) -> bool:
        refusals[REF] = Refusal("hash", "no", 3, 1e9)
        act()
        return REF in refusals

    assert not after(lambda: cache.put_child(KEY, service(5, type="NodePort")))
    balanced = replace(service(6, type="NodePort"), addresses=("10.0.0.9",))
    assert after(lambda: cache.put_child(KEY, balanced))
    assert cache.children(KEY)[REF].addresses
    assert not after(lambda: cache.put_child(KEY, service(7, type="ClusterIP")))
    assert not after(lambda: cache.remove_child(KEY, REF, "s", 8))


def test_the_first_memory_of_the_status_is_the_servers() -> None:
    status = {"observedGeneration": 1, "conditions": []}
    assert Cache().memory(model(status=status)).status == status


def test_a_listed_status_corrects_the_memory_unless_our_write_is_younger() -> None:
    cache = Cache()
    memory = cache.memory(model())
    memory.status, memory.status_version = {"replicas": 1}, 11
    cache.check_status(model(status={"replicas": 9}))
    assert memory.status == {"replicas": 1}
    memory.status_version = 10
    cache.check_status(model(status={"replicas": 9}))
    assert memory.status == {"replicas": 9}


def test_a_key_says_itself_as_kubectl_would() -> None:
    assert str(Key("vision", "digits")) == "vision/digits"
