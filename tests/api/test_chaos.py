"""The short form of `make chaos`: a few seeds, a few seconds each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.__main__ import run

pytestmark = pytest.mark.api

SECONDS = 8.0
SEEDS = [0, 1, 2]


@pytest.mark.timeout(400)
@pytest.mark.skipif(
    "KUBECONFIG" in os.environ, reason="kills an API server, and so needs one of its own: unset KUBECONFIG"
)
def test_after_the_disorder_everything_is_as_it_was_declared_and_nobody_elses_was_touched(tmp_path: Path) -> None:
    outcomes = run([SEEDS], SECONDS, tmp_path, print)
    assert len(outcomes) == len(SEEDS)
    assert not [outcome.text() for outcome in outcomes if not outcome.passed]
