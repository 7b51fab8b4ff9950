"""A pytest plugin for `pytest -n 3`: lanes of tests run side by side, and what shares a cluster stays in one lane.

A lane is a process of pytest-xdist with clusters of its own. It takes one module after the other; all that needs a
node is one piece, because one such cluster is enough for a machine. That piece takes longest and begins first. With
KUBECONFIG set there is one cluster for everything, and all that needs it is one piece.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from xdist import is_xdist_controller
from xdist.scheduler import LoadScopeScheduling

from tests.cluster.lifecycle import clean_abandoned


def piece_of(nodeid: str, *, one_cluster: bool) -> str:
    """Tests of one piece never run at the same time, and run in their order."""
    module = nodeid.partition("::")[0]
    tier = module.split("/")[1:2]
    if tier == ["e2e"] or (one_cluster and tier == ["api"]):
        return "cluster"
    return module


class Lanes(LoadScopeScheduling):
    """Gives the next piece, in the order of collection, to the lane that is free."""

    def _split_scope(self, nodeid: str) -> str:
        return piece_of(nodeid, one_cluster="KUBECONFIG" in os.environ)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Callable[..., None]) -> Lanes:
    config.option.loadscopereorder = False
    return Lanes(config, log)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """An interrupted lane is given a few seconds to end; what it could not take down in them is taken down here."""
    if is_xdist_controller(session):
        clean_abandoned()
