"""The words for what was not served."""

from __future__ import annotations

import pytest

from slipway_runtime.dispatch.answers import deadline

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(30.0, "30 "), (0.25, "0.25 "), (2e-06, "0.000002 "), (100.0, "100 "), (1e-09, "0 "), (86400.0, "86400 ")],
)
def test_a_deadline_is_told_without_exponents(seconds: float, shown: str) -> None:
    for running in (False, True):
        assert f"within {shown}seconds;" in deadline(seconds, running=running).message
