"""What tests on a real API server share."""

from __future__ import annotations

import pytest

from tests.cluster.lifecycle import Cluster
from tests.fixtures.crds import install


@pytest.fixture(scope="session")
def crd(control_plane: Cluster) -> str:
    """The CRD as it is generated now, established; its name."""
    return install(control_plane)
