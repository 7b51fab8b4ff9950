"""A virtual environment for each server, over one torch that all of them share.

torch and what it needs take five gigabytes, so they are installed once into a folder of their own. A `.pth` file of
each environment appends that folder to the path: what the environment has itself is found first.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache as remember
from importlib.metadata import version
from pathlib import Path
from typing import Final

from benchmarks.failure import BenchmarkError, ServerError
from benchmarks.peers import Peer
from benchmarks.places import HERE, PEERS, ROOT, cache

_INSTALL_SECONDS: Final = 1800
_ERROR_LINES: Final = 12
_STAMP: Final = ".complete"


def python_of(peer: Peer) -> Path:
    """The interpreter that serves `peer`; its environment is made when it is not there yet.

    Raises `ServerError` with the installer's own words when a package cannot be installed.
    """
    if peer.environment == "checkout":
        return Path(sys.executable)
    if peer.environment == "torch":
        return _environment("torch", None)
    return _environment(peer.folder, PEERS / peer.folder / "requirements.txt")


def versions_of(python: Path, distributions: tuple[str, ...]) -> dict[str, str]:
    """Versions of what is installed there; a name that is not is left out."""
    code = (
        "import json, sys\nfrom importlib.metadata import PackageNotFoundError, version\nfound = {}\n"
        "for name in sys.argv[1:]:\n"
        "    try: found[name] = version(name)\n"
        "    except PackageNotFoundError: pass\n"
        "print(json.dumps(found))"
    )
    command = [str(python), "-c", code, *distributions]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    found: dict[str, str] = json.loads(answer)
    return found


def tool(name: str) -> Path:
    """A program of `benchmarks/tools`, such as py-spy."""
    return _environment("tools", HERE / "tools" / "requirements.txt").with_name(name)


def lock(peer: Peer) -> None:
    """Pin the newest allowed versions in the peer's requirements.txt, from its requirements.in."""
    folder = PEERS / peer.folder
    command = ["pip", "compile", "--quiet", "--python-version", "3.11", "--no-header", "--no-annotate", "--upgrade"]
    overrides = folder / "overrides.txt"
    if overrides.exists():
        command += ["--override", str(overrides)]
    _uv(*command, str(folder / "requirements.in"), "-o", str(folder / "requirements.txt"))


def _environment(name: str, requirements: Path | None) -> Path:
    torch = torch_folder()
    pins = requirements.read_text() if requirements else ""
    digest = hashlib.sha256("\n".join([pins, str(torch), sys.version]).encode()).hexdigest()[:12]
    folder = cache() / "venvs" / f"{name}-{digest}"
    python = folder / "bin" / "python"
    if (folder / _STAMP).exists():
        return python
    for old in folder.parent.glob(f"{name}-*"):
        shutil.rmtree(old, ignore_errors=True)
    print(f"Making the environment of {name} in {folder}", file=sys.stderr, flush=True)
    _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
    if requirements:
        # Without resolving: the file names everything, and some projects ask for versions that do not exist.
        _uv("pip", "install", "--quiet", "--no-deps", "--python", str(python), "-r", str(requirements))
    version_folder = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (folder / "lib" / version_folder / "site-packages" / "shared-torch.pth").write_text(f"{torch}\n")
    (folder / _STAMP).touch()
    return python


@remember
def torch_folder() -> Path:
    """Site folder with the checkout's version of torch and numpy, and nothing that a server brings itself."""
    wanted = f"torch=={version('torch').partition('+')[0]}", f"numpy=={version('numpy')}"
    digest = hashlib.sha256(" ".join([*wanted, sys.version]).encode()).hexdigest()[:12]
    folder = cache() / f"torch-{digest}"
    if (folder / _STAMP).exists():
        return folder
    print(f"Installing {' and '.join(wanted)} into {folder}", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    index = os.environ.get("TORCH_INDEX_URL")
    command = ["pip", "install", "--quiet", "--python", sys.executable, "--target", str(folder)]
    _uv(*command, *(["--default-index", index] if index else []), *wanted)
    (folder / _STAMP).touch()
    return folder


def _uv(*arguments: str) -> None:
    process = subprocess.run(
        [_uv_program(), *arguments],
        env={**os.environ, **_uv_settings()},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_INSTALL_SECONDS,
    )
    if process.returncode != 0:
        said = " ".join(process.stderr.split("\n")[:_ERROR_LINES]).strip()
        raise ServerError(f"cannot be installed: {said}")


@remember
def _uv_program() -> str:
    process = subprocess.run([ROOT / ".ci" / "install", "--uv"], capture_output=True, text=True, cwd=ROOT)
    if process.returncode != 0:
        raise BenchmarkError(f"uv, which makes the environments, is missing: {process.stderr.strip()}")
    return process.stdout.strip()


@remember
def _uv_settings() -> Mapping[str, str]:
    """The user's own package index, as `.ci/install` hands it on."""
    command = [sys.executable, str(ROOT / ".ci" / "pip_settings.py"), "uv"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    exported = dict(shlex.split(line)[1].split("=", 1) for line in lines)
    base = cache().parent / "uv"
    return {"UV_CACHE_DIR": str(base), "UV_PYTHON_DOWNLOADS": "never", "UV_NO_CONFIG": "1", **exported}
