"""The image that holds each Pod's namespaces: one static program, built once and kept in the cache."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Final

from tests.cluster.command import run
from tests.cluster.containerd import PAUSE_IMAGE
from tests.cluster.state import cache_directory, file_lock

SOURCE: Final = Path(__file__).parent / "pause" / "pause.c"


def ensure() -> Path:
    """An OCI archive, named by its source's content."""
    directory = cache_directory() / "pause"
    key = hashlib.sha256(SOURCE.read_bytes() + PAUSE_IMAGE.encode()).hexdigest()[:16]
    archive = directory / f"{key}.tar"
    with file_lock(directory / ".lock", what="the pause image"):
        if not archive.exists():
            _build(archive)
    return archive


def _build(archive: Path) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="build-", dir=archive.parent))
    try:
        program = scratch / "pause"
        run("gcc", "-static", "-Os", "-s", "-o", program, SOURCE)
        # A storage of its own: no image or container appears in the user's.
        storage: list[str | Path] = [
            "--root",
            scratch / "root",
            "--runroot",
            scratch / "run",
            "--storage-driver",
            "vfs",
        ]
        buildah = ["buildah", *storage]
        container = run(*buildah, "from", "scratch").strip()
        run(*buildah, "copy", container, program, "/pause")
        run(*buildah, "config", "--entrypoint", '["/pause"]', "--user", "65535:65535", container)
        run(*buildah, "commit", container, f"oci-archive:{scratch / 'image.tar'}:{PAUSE_IMAGE}")
        (scratch / "image.tar").replace(archive)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
