"""A seed decides everything that `make chaos` plans."""

from __future__ import annotations

import pytest

from tests.chaos.faults import KINDS, faults
from tests.chaos.group import GROUP, groups
from tests.chaos.schedule import STEADY, VERBS, schedule

pytestmark = pytest.mark.unit


def test_the_same_seed_plans_the_same() -> None:
    assert schedule(7, 12) == schedule(7, 12)
    assert schedule(7, 12) != schedule(8, 12)
    assert faults(3, 12) == faults(3, 12)
    assert faults(3, 12) != faults(4, 12)


def test_everything_that_may_happen_does_so_in_some_seed() -> None:
    assert {act.verb for seed in range(40) for act in schedule(seed, 12)} == set(VERBS)
    assert {fault.kind for group in range(40) for fault in faults(group, 12)} == set(KINDS)


def test_nobody_plans_anything_for_the_untouched_model() -> None:
    assert all(act.model != STEADY for seed in range(100) for act in schedule(seed, 12))


def test_a_seed_runs_with_those_that_share_its_faults() -> None:
    assert groups(7, 1) == [list(range(GROUP))]
    assert groups(0, 2 * GROUP) == [list(range(GROUP)), list(range(GROUP, 2 * GROUP))]
    assert groups(GROUP - 1, 2) == [list(range(GROUP)), list(range(GROUP, 2 * GROUP))]
