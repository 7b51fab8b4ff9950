"""Build programs from their pinned Go modules under tests/cluster/modules."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.cluster.errors import ClusterError, RequirementError
from tests.cluster.progress import Progress, duration
from tests.cluster.state import cache_directory
from tests.cluster.versions import Component

MODULES: Final = Path(__file__).parent / "modules"
# The compiler fills every core by itself, linking and fetching don't: a second module fills those gaps.
# More lanes would only need more memory (linking kube-apiserver takes about 2 GiB).
LANES: Final = 2
# Longest first, so that the lanes end at about the same time: kubernetes takes as long as the four others.
_LONGEST_FIRST: Final = ("kubernetes", "coredns", "helm", "versitygw", "metrics-server", "etcd")
_FAILURE_LINES: Final = 20


def build(components: Sequence[Component], directory: Path, shown: Progress) -> dict[str, Path]:
    """Programs by name, built into `directory`; the programs of one module share one invocation of Go."""
    go = shutil.which("go")
    if go is None:
        names = ", ".join(component.name for component in components)
        raise RequirementError(
            f"{names}: not on this machine, not to be downloaded from here, and Go to build them is missing. "
            "Install Go 1.26 or newer (https://go.dev/dl/) so that `go` is on PATH, "
            "or set KUBEBUILDER_ASSETS to a folder that holds them."
        )
    caches, keep = go_caches()
    modules: dict[str, list[Component]] = {}
    for component in components:
        modules.setdefault(component.module, []).append(component)
    order = sorted(modules, key=_LONGEST_FIRST.index)
    environment = go_environment(caches)
    try:
        with ThreadPoolExecutor(LANES) as lanes:
            builds = [
                lanes.submit(_build_module, go, module, modules[module], directory, environment, shown)
                for module in order
            ]
            try:
                for running in builds:
                    running.result()
            finally:
                lanes.shutdown(wait=False, cancel_futures=True)  # after a failure the ones not begun are in vain
    finally:
        if not keep:
            shown.stage("go", "dropping its caches")
            shutil.rmtree(caches, ignore_errors=True)
    return {component.name: directory / component.name for component in components}


def go_caches() -> tuple[Path, bool]:
    """Folder of Go's module and build caches, and whether it outlives the build (9 GB after all components)."""
    configured = os.environ.get("SLIPWAY_GO_CACHE")
    if configured:
        return Path(configured).expanduser().resolve(), True
    return cache_directory() / "go", False


def go_environment(caches: Path) -> dict[str, str]:
    """The user's own proxy and checksum settings stay; what would change the build does not."""
    return {
        **os.environ,
        "GOMODCACHE": str(caches / "gomod"),
        "GOCACHE": str(caches / "gobuild"),
        "GOFLAGS": "-modcacherw",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
    }


def _build_module(
    go: str,
    module: str,
    components: Sequence[Component],
    directory: Path,
    environment: Mapping[str, str],
    shown: Progress,
) -> None:
    began = time.monotonic()
    # Go names a program after its package's folder; alone it can be given its own name (etcd's is `server`).
    alone = len(components) == 1
    output = directory / components[0].name if alone else directory
    ldflags = " ".join(("-s", "-w", *components[0].ldflags))
    nice = shutil.which("nice")  # tests that need no cluster run meanwhile
    command = [
        *([nice] if nice else []),
        go,
        "build",
        "-v",
        "-trimpath",
        f"-ldflags={ldflags}",
        "-o",
        f"{output}{'' if alone else os.sep}",
    ]
    command += [component.package for component in components]
    last_lines: deque[str] = deque(maxlen=_FAILURE_LINES)
    fetched = compiled = 0
    shown.stage(module, "starting")
    with subprocess.Popen(
        command,
        cwd=MODULES / module,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            last_lines.append(line.rstrip())
            if line.startswith("go: downloading"):
                fetched += 1
            else:
                compiled += 1
            shown.stage(module, f"{fetched} modules fetched, {compiled} packages compiled")
    if process.returncode != 0:
        raise ClusterError(f"go build of {MODULES / module} failed:\n  " + "\n  ".join(last_lines))
    names = ", ".join(component.name for component in components)
    shown.done(module, f"built {names} in {duration(time.monotonic() - began)}")
