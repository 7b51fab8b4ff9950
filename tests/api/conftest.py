"""What tests on a real API server share."""

from __future__ import annotations

import json

import pytest

from slipway_operator.tools.crdgen import build_crd
from tests.cluster.lifecycle import Cluster
from tests.fixtures.crds import wait_established


@pytest.fixture(scope="session")
def crd(control_plane: Cluster) -> str:
    """The CRD as it is generated now, established; its name."""
    crd = build_crd()
    name: str = crd["metadata"]["name"]
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(crd))
    wait_established(control_plane, name)
    return name
