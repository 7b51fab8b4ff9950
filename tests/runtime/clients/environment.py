"""A virtual environment for a client that cannot live in ours: made from its pinned and hashed requirements, once."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
_INSTALL_SECONDS: Final = 600
_STAMP: Final = ".complete"


def python_with(requirements: Path) -> Path:
    """The interpreter of an environment with exactly these packages, made in the cache when it is not there yet."""
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    cache = Path(os.environ.get("SLIPWAY_CACHE") or Path.home() / ".cache" / "slipway")
    folder = cache / "venvs" / f"client-{requirements.stem}-{digest}"
    python = folder / "bin" / "python"
    if (folder / _STAMP).exists():
        return python
    making = folder.with_name(f"{folder.name}.{os.getpid()}")  # another run may be making it too
    _uv(cache, "venv", "--quiet", "--clear", "--python", sys.executable, str(making))
    interpreter = str(making / "bin" / "python")
    _uv(cache, "pip", "sync", "--quiet", "--python", interpreter, "--require-hashes", str(requirements))
    (making / _STAMP).touch()
    try:
        making.rename(folder)
    except OSError:
        shutil.rmtree(making)
    return python


def _uv(cache: Path, *arguments: str) -> None:
    uv = _output(str(ROOT / ".ci" / "install"), "--uv").strip()
    exports = _output(sys.executable, str(ROOT / ".ci" / "pip_settings.py"), "uv").splitlines()
    index = dict(shlex.split(line)[1].split("=", 1) for line in exports)
    settings = {"UV_CACHE_DIR": str(cache / "uv"), "UV_PYTHON_DOWNLOADS": "never", "UV_NO_CONFIG": "1", **index}
    process = subprocess.run(
        [uv, *arguments], env={**os.environ, **settings}, capture_output=True, text=True, timeout=_INSTALL_SECONDS
    )
    assert process.returncode == 0, f"uv {' '.join(arguments)}:\n{process.stderr}"


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout
