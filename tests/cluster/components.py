"""Find, fetch or build the programs that a cluster is made of.

A program comes from the first of these that has it: the folder KUBEBUILDER_ASSETS, PATH (only in the pinned minor
version), the cache, the official release, a build from its pinned Go module. The last two fill the cache.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.cluster import gobuild
from tests.cluster.errors import ClusterError
from tests.cluster.progress import Progress, progress
from tests.cluster.state import cache_directory, file_lock
from tests.cluster.versions import COMPONENTS, GOARCH, GOOS, Component

CONTROL_PLANE: Final = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
NODE: Final = (*CONTROL_PLANE, "kube-scheduler", "kubelet", "kube-proxy", "coredns")

MANIFEST: Final = "manifest.json"
LOCK_WAIT_SECONDS: Final = 3600.0
VERSION_SECONDS: Final = 15.0
_VERSION: Final = re.compile(r"\bv?(\d+)\.(\d+)\.\d+")


def ensure(name: str) -> Path:
    """The program's path; takes minutes when it must be built."""
    return ensure_all([name])[name]


def ensure_all(names: Iterable[str]) -> dict[str, Path]:
    """Programs by name; what is missing is fetched and built together, which is quicker than one by one."""
    wanted = [_component(name) for name in dict.fromkeys(names)]
    with ThreadPoolExecutor() as lanes:  # checksums of a hundred megabytes each
        paths = list(lanes.map(_at_hand, wanted))
    found = {component.name: path for component, path in zip(wanted, paths, strict=True) if path is not None}
    missing = [component for component in wanted if component.name not in found]
    if not missing:
        return found
    components_directory().mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = components_directory() / ".lock"
    with (
        progress("components", first_stage="waiting for another run that fills the cache") as shown,
        file_lock(lock, what=str(components_directory()), wait_seconds=LOCK_WAIT_SECONDS),
    ):
        # Another process may have filled the cache while this one waited for the lock.
        still_missing = [component for component in missing if _from_cache(component) is None]
        if still_missing:
            _fill_cache(still_missing, shown)
    return found | {component.name: _cached(component) for component in missing}


def find(name: str) -> Path | None:
    """The program's path if it is at hand without a download or a build."""
    return _at_hand(_component(name))


def components_directory() -> Path:
    return cache_directory() / "components"


def cache_entry(component: Component) -> Path:
    """A folder, so that the program keeps its plain name and can be put on PATH."""
    return components_directory() / f"{component.name}-{component.version}-{GOOS}-{GOARCH}"


def store(component: Component, program: Path, origin: str) -> Path:
    """Move `program` into the cache with its checksum, in one step: a killed run leaves no half entry."""
    entry = cache_entry(component)
    entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=entry.parent) as scratch:
        partial = Path(scratch) / "entry"
        partial.mkdir()
        target = partial / component.name
        shutil.move(program, target)
        target.chmod(0o755)
        manifest = {"sha256": sha256_of(target), "origin": origin}
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        if entry.exists():  # damaged, or it would have been used
            entry.rename(Path(scratch) / "damaged")
        partial.rename(entry)
    return entry / component.name


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _component(name: str) -> Component:
    try:
        return COMPONENTS[name]
    except KeyError:
        raise ClusterError(f"component {name!r}: expected one of {', '.join(sorted(COMPONENTS))}.") from None


def _at_hand(component: Component) -> Path | None:
    return _from_assets(component) or _from_path(component) or _from_cache(component)


def _from_assets(component: Component) -> Path | None:
    """Whoever sets KUBEBUILDER_ASSETS chose those versions."""
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    if not folder:
        return None
    path = Path(folder).expanduser().resolve() / component.name
    return path if path.is_file() and os.access(path, os.X_OK) else None


def _from_path(component: Component) -> Path | None:
    found = shutil.which(component.name)
    return Path(found) if found and _minor_of(found, component.version_argv) == _minor(component.version) else None


@functools.lru_cache
def _minor_of(program: str, version_argv: tuple[str, ...]) -> tuple[str, str] | None:
    try:
        answer = subprocess.run(
            [program, *version_argv], capture_output=True, text=True, timeout=VERSION_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return _minor(answer.stdout + answer.stderr)


def _minor(text: str) -> tuple[str, str] | None:
    match = _VERSION.search(text)
    return (match[1], match[2]) if match else None


def _from_cache(component: Component) -> Path | None:
    entry = cache_entry(component)
    program = entry / component.name
    try:
        expected = json.loads((entry / MANIFEST).read_text(encoding="utf-8"))["sha256"]
        status = program.stat()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return program if _checked(program, status.st_mtime_ns, status.st_size) == expected else None


@functools.lru_cache
def _checked(program: Path, _mtime_ns: int, _size_bytes: int) -> str:
    """Once per process and state of the file: a cluster asks for the same programs again and again."""
    return sha256_of(program)


def _cached(component: Component) -> Path:
    path = _from_cache(component)
    if path is None:
        raise ClusterError(f"{cache_entry(component)}: damaged while in use; delete the folder and try again.")
    return path


def _fill_cache(missing: Sequence[Component], shown: Progress) -> None:
    """The caller holds the lock, so that what lies half done is a killed run's."""
    for leftover in components_directory().glob(".*-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    for component in missing:
        if cache_entry(component).exists():
            shown.done(component.name, f"{cache_entry(component)} is damaged, made again")
    with tempfile.TemporaryDirectory(prefix=".build-", dir=components_directory()) as scratch:
        directory = Path(scratch)
        failures = _download_all(missing, directory, shown)
        to_build = [component for component in missing if component.name in failures]
        if not to_build:
            return
        reason = failures[to_build[0].name]
        shown.done(", ".join(failures), f"built from Go modules, as no release is to be had here ({reason})")
        built = gobuild.build(to_build, directory, shown)
        for component in to_build:
            store(component, built[component.name], f"go build {component.package} {component.version}")


def _download_all(components: Sequence[Component], directory: Path, shown: Progress) -> dict[str, str]:
    """Fill the cache with what can be downloaded; why not for the rest, by name."""
    from tests.cluster.download import DownloadFailedError, download  # an HTTP client takes long to import

    def attempt(component: Component) -> str | None:
        shown.stage(component.name, "downloading")
        program = directory / component.name
        try:
            if component.release is None:
                raise DownloadFailedError("there is none")
            download(component.release, program)
        except DownloadFailedError as error:
            shown.drop(component.name)
            return str(error)
        store(component, program, component.release.url)
        shown.done(component.name, f"downloaded {component.version}")
        return None

    with ThreadPoolExecutor(len(components)) as lanes:
        reasons = dict(zip((c.name for c in components), lanes.map(attempt, components), strict=True))
    return {name: reason for name, reason in reasons.items() if reason}
