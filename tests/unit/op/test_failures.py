"""Which of several causes a user is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_operator.failures import STAGES, Failure, rank, worst
from slipway_runtime.contract import Stage

pytestmark = pytest.mark.unit

FAILURES: Final = st.builds(
    Failure,
    stage=st.sampled_from([*STAGES, "Compile"]),
    reason=st.sampled_from(["Crashed", "Unschedulable", "DigestMismatch"]),
    message=st.sampled_from(["a", "b"]),
    heals=st.booleans(),
    current=st.booleans(),
    pod=st.sampled_from([None, "digits-1", "digits-2"]),
)


def test_every_stage_of_the_runtime_has_its_place() -> None:
    assert {str(stage) for stage in Stage} < set(STAGES)


@given(st.lists(FAILURES, min_size=1), st.randoms())
def test_the_order_in_which_pods_are_looked_at_does_not_matter(found: list[Failure], random: object) -> None:
    shuffled = list(found)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = worst(found), worst(shuffled)
    assert first is not None
    assert second is not None
    assert rank(first) == rank(second)


@given(st.lists(FAILURES))
def test_none_is_worse_than_the_worst(found: list[Failure]) -> None:
    told = worst(found)
    assert (told is None) == (not found)
    assert told is None or all(rank(told) <= rank(other) for other in found)


@given(FAILURES, FAILURES)
def test_this_generation_comes_before_older_ones(one: Failure, other: Failure) -> None:
    mine, older = replace(one, current=True), replace(other, current=False)
    assert worst([older, mine]) == mine


@given(FAILURES, FAILURES)
def test_what_needs_somebody_comes_before_what_may_pass(one: Failure, other: Failure) -> None:
    blocking = replace(one, current=True, heals=False)
    passing = replace(other, current=True, heals=True)
    assert worst([passing, blocking]) == blocking


@given(FAILURES, st.sampled_from(STAGES), st.sampled_from(STAGES))
def test_of_equals_the_pod_that_came_furthest_is_told(failure: Failure, one: str, other: str) -> None:
    further = max(one, other, key=STAGES.index)
    found = [replace(failure, stage=stage) for stage in (one, other)]
    told = worst(found)
    assert told is not None
    assert told.stage == further
