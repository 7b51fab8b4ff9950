"""Take an image from the storage of buildah, podman or docker to the registry that a cluster pulls from."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from tests.cluster.command import run
from tests.cluster.errors import ClusterError
from tests.cluster.state import cache_directory

PUSH_SECONDS: Final = 900.0
Command = tuple[str, ...]
# How each of them says whether it has an image.
_QUERIES: Final[Mapping[str, Command]] = {
    "buildah": ("inspect", "--type", "image"),
    "podman": ("image", "inspect"),
    "docker": ("image", "inspect"),
}


class Target(Protocol):
    """What of a cluster is needed here."""

    @property
    def name(self) -> str: ...

    @property
    def registry(self) -> str | None: ...


def load_image(cluster: Target, image: str) -> str:
    """Push a local image; returns the reference for the cluster, by digest: a tag that moves is never stale in it."""
    if cluster.registry is None:
        raise ClusterError(
            f"cluster {cluster.name}: has no registry to load {image} into; start it with --mode node, or set "
            "SLIPWAY_REGISTRY to a registry that the cluster of KUBECONFIG pulls from."
        )
    program = _holder(image)
    target = cluster_reference(cluster.registry, image)
    push = _push_docker if program[0] == "docker" else _push
    digest = push(program, image, target)
    return f"{_split_tag(target)[0]}@{digest}"


def cluster_reference(registry: str, image: str) -> str:
    """The image's name and tag in another registry; without a tag it is `latest`, without a digest it stays."""
    path, tag = _split_tag(image.partition("@")[0])
    first, slash, rest = path.partition("/")
    # As docker reads it: the first part is a host when it could be none of the names of Docker Hub.
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    return f"{registry}/{rest if is_host else path}:{tag}"


def _split_tag(reference: str) -> tuple[str, str]:
    head, colon, tail = reference.rpartition(":")
    return (head, tail) if colon and "/" not in tail else (reference, "latest")


def _holder(image: str) -> Command:
    """The program that has the image, with the flags that lead it to its storage."""
    present = [program for program in _storages() if shutil.which(program[0])]
    for program in present:
        query = [*program, *_QUERIES[program[0]], image]
        if subprocess.run(query, capture_output=True, check=False, env=_environment()).returncode == 0:
            return program
    if not present:
        raise ClusterError(f"{image}: none of {', '.join(_QUERIES)} is on PATH to take it from; install one of them.")
    names = dict.fromkeys(program[0] for program in present)
    raise ClusterError(f"{image}: not in the storage of {' or '.join(names)}; build or pull it there first.")


def _storages() -> list[Command]:
    """`make build` with buildah keeps its images in the cache folder."""
    built = cache_directory() / "images"
    own = ("buildah", "--root", str(built / "storage"), "--runroot", str(built / "run"))
    return [own, *((name,) for name in _QUERIES)]


def _push(program: Command, image: str, target: str) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        digest_file = Path(scratch, "digest")
        run(
            *program, "push", "--quiet", "--tls-verify=false", f"--digestfile={digest_file}", image, f"docker://{target}",
            env=_environment(target), timeout_seconds=PUSH_SECONDS,
        )  # fmt: skip
        return digest_file.read_text(encoding="ascii").strip()


def _push_docker(docker: Command, image: str, target: str) -> str:
    """docker itself pushes over plain HTTP to no address but the machine's own, so buildah does it where it can."""
    if shutil.which("buildah"):
        with tempfile.TemporaryDirectory() as scratch:
            archive = Path(scratch, "image.tar")
            run(*docker, "save", "--output", archive, image, timeout_seconds=PUSH_SECONDS)
            copied = run("buildah", "pull", "--quiet", f"docker-archive:{archive}", env=_environment()).strip()
            return _push(("buildah",), copied, target)
    run(*docker, "tag", image, target)
    run(*docker, "push", "--quiet", target, timeout_seconds=PUSH_SECONDS)
    name = _split_tag(target)[0]
    digests = run(*docker, "image", "inspect", "--format", '{{join .RepoDigests "\\n"}}', target).splitlines()
    return next(digest for digest in digests if digest.startswith(f"{name}@")).partition("@")[2]


def _environment(target: str = "") -> dict[str, str]:
    """For root on a machine without user namespaces, where what is set already wins; no proxy comes before `target`."""
    direct = {name: ",".join(filter(None, (os.environ.get(name), _host(target)))) for name in ("NO_PROXY", "no_proxy")}
    return {"STORAGE_DRIVER": "overlay", "BUILDAH_ISOLATION": "chroot", **os.environ, **direct}


def _host(reference: str) -> str:
    return reference.partition("/")[0].partition(":")[0]
