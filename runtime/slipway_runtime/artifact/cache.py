"""Where artifacts are placed: named by their digest, complete or absent, never half written."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final

from slipway_runtime.artifact.source import ArtifactError
from slipway_runtime.contract import FailureReason

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PARTIAL_SUFFIX: Final = ".partial"


def digest_file(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def digest_folder(path: Path) -> tuple[str, int]:
    """Of the names and digests of all its files, and their bytes together; what Python caches there does not count."""
    whole = hashlib.sha256()
    size_bytes = 0
    for file in sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts):
        whole.update(f"{file.relative_to(path)}\0{digest_file(file)}\n".encode())
        size_bytes += file.stat().st_size
    return f"sha256:{whole.hexdigest()}", size_bytes


class Cache:
    def __init__(self, directory: Path) -> None:
        self._directory = directory / "sha256"

    def find(self, digest: str) -> Path | None:
        """The file with this digest, read again to be sure: a damaged one is removed and fetched anew."""
        path = self._path(digest)
        if not path.is_file():
            return None
        if digest_file(path) == digest:
            return path
        path.unlink(missing_ok=True)
        return None

    def begin(self) -> Partial:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            for left_behind in self._directory.glob(f"*{_PARTIAL_SUFFIX}"):
                left_behind.unlink(missing_ok=True)
            handle, name = tempfile.mkstemp(suffix=_PARTIAL_SUFFIX, dir=self._directory)
        except OSError as error:
            if error.errno in _FULL:
                raise no_space(self._directory, None) from None
            raise ArtifactError(
                FailureReason.INVALID_CONFIG,
                f"The cache folder {self._directory} cannot be written: {error.strerror}. Name another in the"
                " environment variable SLIPWAY_CACHE_DIR.",
            ) from None
        return Partial(handle, Path(name), self)

    def _path(self, digest: str) -> Path:
        return self._directory / digest.removeprefix("sha256:")

    def adopt(self, partial: Path, digest: str) -> Path:
        path = self._path(digest)
        partial.replace(path)
        return path

    def free_bytes(self) -> int:
        stat = os.statvfs(self._directory)
        return stat.f_bavail * stat.f_frsize


class Partial:
    """A file being received, hashed as it grows. Removed on leaving unless it was placed."""

    def __init__(self, handle: int, path: Path, cache: Cache) -> None:
        self._file = os.fdopen(handle, "wb")
        self._path = path
        self._cache = cache
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def __enter__(self) -> Partial:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        finally:
            self._path.unlink(missing_ok=True)

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def reserve(self, total_bytes: int) -> None:
        """Fails at once when the rest cannot fit, instead of after an hour of download."""
        if total_bytes - self.size_bytes > self._cache.free_bytes():
            raise no_space(self._path.parent, total_bytes)

    def write(self, chunk: bytes) -> None:
        try:
            self._file.write(chunk)
        except OSError as error:
            raise self._write_error(error) from None
        self._hash.update(chunk)
        self.size_bytes += len(chunk)

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def place(self) -> Path:
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            return self._cache.adopt(self._path, self.digest)
        except OSError as error:
            raise self._write_error(error) from None

    def _write_error(self, error: OSError) -> ArtifactError:
        if error.errno in _FULL:
            return no_space(self._path.parent, None)
        return ArtifactError(FailureReason.INTERNAL_ERROR, f"Writing to {self._path.parent} failed: {error.strerror}.")


def no_space(directory: Path, needed_bytes: int | None) -> ArtifactError:
    need = "The artifact" if needed_bytes is None else f"The artifact of {needed_bytes / 2**20:.0f} MiB"
    return ArtifactError(
        FailureReason.NO_SPACE_LEFT, f"{need} does not fit into the cache folder {directory}. Give it more space."
    )
