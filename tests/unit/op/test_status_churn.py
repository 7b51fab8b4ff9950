"""Numbers that change alone write nothing: a status that is written all day hides the change that matters."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_operator.cache import Memory
from slipway_operator.plan import Plan
from tests.fixtures.operator import crash_loop, waiting
from tests.unit.op.observations import UID, applied, deployed_template, model, plan_of, pod

pytestmark = pytest.mark.unit

EARLIER = "2025-12-31T00:00:00Z"
NUMBERS = st.integers(0, 10**6)
CHILDREN = applied(plan_of(model()))


def look(status: dict[str, Any], memory: Memory) -> Plan:
    return plan_of(model(), CHILDREN, [pod(status, template=deployed_template(CHILDREN))], memory)


def crash(number: int, restarts: int) -> dict[str, Any]:
    status = crash_loop(exitCode=1, reason="Error", message=f"worker {number} lost after {number} s")
    status["containerStatuses"][0]["restartCount"] = restarts
    state = status["containerStatuses"][0]["state"]["waiting"]
    state["message"] = f"back-off {number}s restarting failed container=runtime"
    return status


def stall(number: int, restarts: int) -> dict[str, Any]:
    text = (
        '{"stage":"Fetch","reason":"ArtifactStalled","message":"Nothing came for 120 s.",'
        f'"fetchedBytes":{number + 1},"artifactBytes":9999999}}'
    )
    status = crash_loop(exitCode=1, reason="Error", message=text)
    status["containerStatuses"][0]["restartCount"] = restarts
    return status


def pull(number: int, restarts: int) -> dict[str, Any]:
    reason = "ErrImagePull" if number % 2 else "ImagePullBackOff"
    prefix = "" if number % 2 else 'Back-off pulling image "x:1": ErrImagePull: '
    return waiting(reason, f"{prefix}dial tcp 10.0.0.1:{1000 + number}: i/o timeout")


@given(st.sampled_from([crash, stall, pull]), st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=8))
def test_numbers_alone_write_nothing_and_tell_nothing(make: Any, seen: list[tuple[int, int]]) -> None:
    memory = Memory(UID, status={})
    memory.status = look(make(*seen[0]), memory).status
    for number, restarts in seen[1:]:
        planned = look(make(number, restarts), memory)
        assert planned.status == memory.status
        assert planned.notes == []


def test_how_many_nodes_are_short_is_no_number_alone() -> None:
    def unscheduled(short: int) -> dict[str, Any]:
        message = f"0/3 nodes are available: {short} Insufficient nvidia.com/gpu."
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        return {"phase": "Pending", "conditions": [condition]}

    memory = Memory(UID, status={})
    memory.status = look(unscheduled(2), memory).status
    assert look(unscheduled(2), memory).status == memory.status
    changed = look(unscheduled(3), memory)
    assert "3 Insufficient" in changed.status["lastFailure"]["message"]
    assert changed.notes == []


def test_the_same_words_from_pods_of_another_revision_are_another_failure() -> None:
    memory = Memory(UID, status={})
    memory.status = older = plan_of(model(), CHILDREN, [pod(crash(1, 1), template="older")], memory).status
    assert older["lastFailure"]["revision"] == "older"
    memory.status["lastFailure"]["time"] = EARLIER
    newer = look(crash(2, 1), memory).status["lastFailure"]
    assert newer["revision"] == deployed_template(CHILDREN)
    assert "worker 2" in newer["message"]
    assert newer["time"] != EARLIER


def test_a_failure_that_was_told_without_its_revision_gets_it_and_keeps_its_time_and_words() -> None:
    memory = Memory(UID, status={})
    memory.status = look(crash(1, 1), memory).status
    known = memory.status["lastFailure"] | {"time": EARLIER}
    revision = known.pop("revision")
    memory.status = memory.status | {"lastFailure": known}
    assert look(crash(2, 2), memory).status["lastFailure"] == known | {"revision": revision}
