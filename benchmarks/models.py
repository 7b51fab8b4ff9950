"""The models that all servers load, made once by `makemodels`, with the answers that are right."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.failure import BenchmarkError
from benchmarks.places import HERE, ROOT, cache
from benchmarks.workloads import WORKLOADS, Workload


@dataclass(frozen=True)
class Model:
    workload: Workload
    archive: Path
    inputs: np.ndarray[Any, Any]
    """[requests, *row shape]"""
    outputs: np.ndarray[Any, Any]
    """[requests, scores]: of the eager module"""


def prepare() -> dict[str, Model]:
    """All models by name; they are written on first use."""
    folder = _folder()
    if not folder.exists():
        draft = folder.with_suffix(".draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        process = subprocess.run(
            [sys.executable, "-m", "benchmarks.makemodels", str(draft)], cwd=ROOT, capture_output=True, text=True
        )
        if process.returncode != 0:
            raise BenchmarkError(f"The models cannot be made:\n{process.stderr.strip()}")
        draft.replace(folder)
    return {name: _read(workload, folder) for name, workload in WORKLOADS.items()}


def _folder() -> Path:
    sources = [(HERE / name).read_bytes() for name in ("makemodels.py", "workloads.py")]
    digest = hashlib.sha256(b"\n".join([*sources, version("torch").encode()])).hexdigest()[:12]
    return cache() / "models" / digest


def _read(workload: Workload, folder: Path) -> Model:
    with np.load(folder / f"{workload.name}.npz") as arrays:
        return Model(workload, folder / f"{workload.name}.pt", arrays["inputs"], arrays["outputs"])
