"""Find, fetch or build the programs that a cluster is made of."""

from __future__ import annotations

import os
from pathlib import Path

from tests.cluster.errors import ClusterError


def ensure(name: str) -> Path:
    path = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent")) / name
    if not path.exists():
        raise ClusterError(f"{name}: not found in KUBEBUILDER_ASSETS.")
    return path
