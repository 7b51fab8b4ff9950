"""The Gateway API's CustomResourceDefinitions, from the pinned Go module that publishes them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

import yaml

from tests.cluster.errors import ClusterError, RequirementError
from tests.cluster.gobuild import MODULES, go_environment
from tests.cluster.state import cache_directory, file_lock

MODULE: Final = "gateway-api"
PATH: Final = "sigs.k8s.io/gateway-api"
KINDS: Final = ("gatewayclasses", "gateways", "httproutes", "grpcroutes", "referencegrants", "backendtlspolicies")
"""Those that a controller of HTTPRoutes watches."""


def crds() -> list[dict[str, Any]]:
    """Of the standard channel; fetched once, checked against go.sum, then from the cache."""
    directory = cache_directory() / f"{MODULE}-{_version()}"
    if not directory.exists():
        with file_lock(cache_directory() / f".{MODULE}.lock", what=str(directory)):
            if not directory.exists():
                _fetch(directory)
    return [yaml.safe_load((directory / f"{kind}.yaml").read_text(encoding="utf-8")) for kind in KINDS]


def _version() -> str:
    text = (MODULES / MODULE / "go.mod").read_text(encoding="utf-8")
    return text.partition(f"{PATH} v")[2].split()[0]


def _fetch(directory: Path) -> None:
    """Into place in one step: a killed run leaves no half folder."""
    go = shutil.which("go")
    if go is None:
        raise RequirementError(
            f"{PATH}: its CRDs are not in the cache and Go to fetch them is missing. Install Go 1.26 or newer"
            " (https://go.dev/dl/) so that `go` is on PATH."
        )
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{MODULE}-", dir=directory.parent) as scratch:
        answer = subprocess.run(
            [go, "mod", "download", "-json", PATH],
            cwd=MODULES / MODULE,
            env=go_environment(Path(os.environ.get("SLIPWAY_GO_CACHE") or scratch).resolve()),
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode != 0:
            raise ClusterError(f"go mod download {PATH} failed:\n{answer.stderr}{answer.stdout}")
        source = Path(json.loads(answer.stdout)["Dir"]) / "config" / "crd" / "standard"
        partial = Path(scratch) / "crds"
        partial.mkdir()
        for kind in KINDS:
            shutil.copyfile(source / f"gateway.networking.k8s.io_{kind}.yaml", partial / f"{kind}.yaml")
        partial.rename(directory)
