"""CustomResourceDefinitions of others, from the pinned Go modules that publish them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.errors import ClusterError, RequirementError
from tests.cluster.gobuild import MODULES, go_environment
from tests.cluster.state import cache_directory, file_lock


@dataclass(frozen=True)
class PublishedCrds:
    """Those of a group, in `folder` of the Go module `path`, whose version tests/cluster/modules/`module` pins."""

    module: str
    path: str
    folder: str
    group: str
    kinds: tuple[str, ...]

    def load(self) -> list[dict[str, Any]]:
        """Fetched once, checked against go.sum, then from the cache."""
        directory = cache_directory() / f"{self.module}-{self._version()}"
        if not directory.exists():
            with file_lock(cache_directory() / f".{self.module}.lock", what=str(directory)):
                if not directory.exists():
                    self._fetch(directory)
        return [yaml.safe_load((directory / name).read_text(encoding="utf-8")) for name in self._files()]

    def _files(self) -> list[str]:
        return [f"{self.group}_{kind}.yaml" for kind in self.kinds]

    def _version(self) -> str:
        text = (MODULES / self.module / "go.mod").read_text(encoding="utf-8")
        return text.partition(f"{self.path} v")[2].split()[0]

    def _fetch(self, directory: Path) -> None:
        """Into place in one step: a killed run leaves no half folder."""
        go = shutil.which("go")
        if go is None:
            raise RequirementError(
                f"{self.path}: its CRDs are not in the cache and Go to fetch them is missing. Install Go 1.26 or newer"
                " (https://go.dev/dl/) so that `go` is on PATH."
            )
        directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{self.module}-", dir=directory.parent) as scratch:
            answer = subprocess.run(
                [go, "mod", "download", "-json", self.path],
                cwd=MODULES / self.module,
                env=go_environment(Path(os.environ.get("SLIPWAY_GO_CACHE") or scratch).resolve()),
                capture_output=True,
                text=True,
                check=False,
            )
            if answer.returncode != 0:
                raise ClusterError(f"go mod download {self.path} failed:\n{answer.stderr}{answer.stdout}")
            source = Path(json.loads(answer.stdout)["Dir"]) / self.folder
            partial = Path(scratch) / "crds"
            partial.mkdir()
            for name in self._files():
                shutil.copyfile(source / name, partial / name)
            partial.rename(directory)
