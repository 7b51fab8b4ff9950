"""Every tier's plugins; what a single tier needs lies in its own folder's conftest."""

from __future__ import annotations

pytest_plugins = ["tests.tiers", "tests.fixtures.clusters"]
