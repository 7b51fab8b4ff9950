"""Prometheus and promtool: from PATH, else from Debian's package, unpacked beside the other parts and not installed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster.errors import ClusterError, RequirementError
from tests.cluster.state import cache_directory, file_lock

_NAMES: Final = ("prometheus", "promtool")
_PACKAGE: Final = "prometheus"
_SECONDS: Final = 300


@dataclass(frozen=True)
class Programs:
    prometheus: Path
    promtool: Path


def ensure() -> Programs:
    """Takes seconds when they must be fetched."""
    found = [shutil.which(name) for name in _NAMES]
    if all(found):
        return Programs(*(Path(path) for path in found if path))
    folder = cache_directory() / "prometheus"
    programs = Programs(*(folder / name for name in _NAMES))
    if not programs.promtool.is_file():
        cache_directory().mkdir(mode=0o700, parents=True, exist_ok=True)
        with file_lock(cache_directory() / ".prometheus.lock", what=str(folder)):
            if not programs.promtool.is_file():
                _fetch(folder)
    return programs


def _fetch(folder: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise RequirementError(
            "prometheus, promtool: not on PATH, and there is no apt-get to fetch Debian's package. Put a release of"
            " Prometheus 2.42 or newer (https://prometheus.io/download/) on PATH."
        )
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        if _run(["apt-get", "-q", "download", _PACKAGE], scratch).returncode != 0:
            # A list that is out of date names a version that the mirror has no more.
            _run(["apt-get", "-q", "update"], scratch)
            answer = _run(["apt-get", "-q", "download", _PACKAGE], scratch)
            if answer.returncode != 0:
                raise ClusterError(f"apt-get download {_PACKAGE}: {answer.stderr.strip()}")
        (package,) = Path(scratch).glob("*.deb")
        subprocess.run(["dpkg-deb", "--extract", str(package), f"{scratch}/root"], check=True)
        ready = Path(scratch) / "ready"
        ready.mkdir()
        for name in _NAMES:
            shutil.move(f"{scratch}/root/usr/bin/{name}", ready / name)
        shutil.rmtree(folder, ignore_errors=True)
        ready.rename(folder)


def _run(command: list[str], folder: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False)
