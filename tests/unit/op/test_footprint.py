"""What the operator keeps of thousands of objects is small, and what it does not keep is given back."""

from __future__ import annotations

import gc
import sys
import weakref

import kopf
import pytest

from slipway_operator import adapters, memory
from slipway_operator.cache import Memory

pytestmark = pytest.mark.unit

STATUS = {"conditions": [{"type": f"Kind{number}", "status": "True"} for number in range(12)], "replicas": 1}


def test_a_remembered_status_is_what_was_put_in_and_nobody_can_change_it_from_outside() -> None:
    known = Memory("uid", status=STATUS)
    first = known.status
    assert first == STATUS
    assert first is not None
    first["replicas"] = 7
    assert known.status == STATUS
    known.status = None
    assert known.status is None
    assert Memory("uid").status is None


def test_a_remembered_status_takes_less_than_its_dictionaries() -> None:
    kept = sum(
        sys.getsizeof(value) for value in vars(Memory("uid", status=STATUS)).values() if isinstance(value, bytes)
    )
    assert 0 < kept < sum(sys.getsizeof(condition) for condition in STATUS["conditions"])  # type: ignore[attr-defined]


def test_what_refers_to_itself_is_gone_after_a_sweep_even_when_it_has_grown_old() -> None:
    class Cycle:
        def __init__(self) -> None:
            self.me = self

    seen = weakref.ref(Cycle())
    gc.collect(1)
    memory.give_back()
    assert seen() is None


def test_kopf_works_nothing_out_about_changes_that_nobody_asks_it_for() -> None:
    settings = adapters._settings(namespaced=False)
    body = kopf.Body({"metadata": {"name": "a", "annotations": {"kopf.zalando.org/progress": "{}"}}, "spec": {"x": 1}})
    differences = settings.persistence.diffbase_storage
    assert differences.build(body=body) == {}
    assert differences.fetch(body=body) is None
    assert settings.persistence.progress_storage.fetch(key=kopf.HandlerId("id"), body=body) is None
