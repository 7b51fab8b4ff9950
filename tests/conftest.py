"""Every tier's plugins; what a single tier needs lies in its own folder's conftest."""

from __future__ import annotations

from hypothesis import settings

pytest_plugins = [
    "tests.tiers",
    "tests.lanes",
    "tests.fixtures.clusters",
    "tests.fixtures.operator",
    "tests.fixtures.helm",
]

# No deadline per example: a busy machine is slow now and then, and no promise is about that.
settings.register_profile("slipway", deadline=None)
settings.load_profile("slipway")
