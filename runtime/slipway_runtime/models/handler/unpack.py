"""From an artifact to a folder with `handler.py`. Archives are opened as what a stranger may have made."""

from __future__ import annotations

import gzip
import lzma
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Final

from slipway_runtime.models.signaturefile import ModelLoadError

HANDLER_FILE: Final = "handler.py"

_MAX_ENTRIES: Final = 20_000
_MAX_BYTES: Final = 64 * 2**30
_MAX_RATIO: Final = 100
"""Unpacked bytes for each byte of the archive; what compresses better was made to fill a disk."""
_RATIO_FREE_BYTES: Final = 64 * 2**20
"""Below this the ratio does not matter."""
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_CHUNK_BYTES: Final = 2**20
_MAX_NAME: Final = 1024
_EXPECTED: Final = "Expected a .py file, or a folder with handler.py as itself, as .zip or as .tar.gz."


@dataclass(frozen=True)
class Limits:
    """What an archive may unpack to."""

    entries: int = _MAX_ENTRIES
    size_bytes: int = _MAX_BYTES
    ratio: int = _MAX_RATIO


@dataclass(frozen=True)
class Member:
    """One file or folder of an archive, whatever its kind."""

    name: str
    is_folder: bool
    is_file: bool
    open: Callable[[], IO[bytes] | None]
    """Its content; only for files."""


@dataclass(frozen=True)
class Code:
    """Where the handler lies."""

    file: Path
    folder: Path
    """What the handler brings along, importable; of a single file its parent, which is not."""
    importable: bool = True
    temporary: Path | None = None
    """Made for this load; see `remove`."""

    def remove(self) -> None:
        """The handler is used no more."""
        if self.temporary is not None:
            shutil.rmtree(self.temporary, ignore_errors=True)


def open_code(path: Path, limits: Limits | None = None) -> Code:
    """Raises `ModelLoadError`, and `OSError` where the disk refuses."""
    if path.is_dir():
        return _in_folder(path)
    if zipfile.is_zipfile(path):
        return _unpacked(path, "zip", limits or Limits())
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"\x1f\x8b"):
        return _unpacked(path, "tar", limits or Limits())
    if b"\0" in head or not head:
        raise ModelLoadError(f"format: Python, but the artifact is {'no text' if head else 'empty'}. {_EXPECTED}")
    return Code(path, path.parent, importable=False)


def _in_folder(folder: Path) -> Code:
    """`handler.py` lies in the folder itself or in the only folder inside, as archives of a folder have it."""
    if not (folder / HANDLER_FILE).is_file():
        inner = [entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__"))]
        if len(inner) != 1 or not (inner[0] / HANDLER_FILE).is_file():
            found = sorted(entry.name for entry in folder.iterdir())[:10]
            raise ModelLoadError(f"format: Python, but there is no {HANDLER_FILE}; found {found}. {_EXPECTED}")
        folder = inner[0]
    return Code(folder / HANDLER_FILE, folder)


def _unpacked(path: Path, kind: str, limits: Limits) -> Code:
    """Beside an archive that is named by its digest, where a second start finds it again; else in a temporary folder,
    because a file of another name may have changed since, and a cache may be for reading only."""
    keeps = _DIGEST.fullmatch(path.name) is not None and os.access(path.parent, os.W_OK)
    place = path.with_name(f"{path.name}.unpacked")
    if keeps and place.is_dir():
        return _in_folder(place)
    draft = Path(tempfile.mkdtemp(prefix="slipway-handler-", dir=path.parent if keeps else None))
    try:
        with _reading(kind):
            _write_all(path, kind, draft, limits)
        if not keeps:
            return replace(_in_folder(draft), temporary=draft)
        try:
            draft.rename(place)
        except OSError:
            if not place.is_dir():  # another worker may have been quicker
                raise
            shutil.rmtree(draft, ignore_errors=True)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return _in_folder(place)


@contextmanager
def _reading(kind: str) -> Iterator[None]:
    try:
        yield
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        gzip.BadGzipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        NotImplementedError,
        RuntimeError,  # zipfile's word for an encrypted member
        UnicodeError,
        ValueError,
    ) as error:
        raise ModelLoadError(f"The {kind} archive with the handler cannot be read: {error}") from error


def _write_all(path: Path, kind: str, draft: Path, limits: Limits) -> None:
    written = entries = 0
    allowed = min(limits.size_bytes, max(_RATIO_FREE_BYTES, limits.ratio * path.stat().st_size))
    for member in _zip_members(path) if kind == "zip" else _tar_members(path):
        entries += 1
        if entries > limits.entries:
            raise ModelLoadError(f"The archive has more than {limits.entries} entries.")
        target = draft / _safe_name(member)
        try:
            if member.is_folder:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            written += _write(target, member, allowed - written)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise ModelLoadError(f"The archive has {target.name!r} twice. Expected each name once.") from None


def _safe_name(member: Member) -> PurePosixPath:
    name = PurePosixPath(member.name)
    shown = repr(member.name[:200])
    if not (member.is_file or member.is_folder):
        raise ModelLoadError(f"The archive has {shown}, which is a link or a device. Expected files and folders.")
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or "\0" in member.name or not name.parts:
        if member.is_folder and not name.parts:
            return name  # "./"
        raise ModelLoadError(f"The archive has {shown}, which lies outside of its folder. Expected relative names.")
    if len(member.name) > _MAX_NAME:
        raise ModelLoadError(f"The archive has a name of {len(member.name)} characters, expected at most {_MAX_NAME}.")
    return name


def _write(target: Path, member: Member, allowed_bytes: int) -> int:
    """Counts what really comes out: what an archive says of itself may be wrong."""
    written = 0
    content = member.open()
    assert content is not None
    with content, target.open("xb") as file:
        while chunk := content.read(_CHUNK_BYTES):
            written += len(chunk)
            if written > allowed_bytes:
                raise ModelLoadError(
                    "The archive unpacks to more than it may: 64 GiB, and a hundred times its own size."
                )
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return written


def _zip_members(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            mode = stat.S_IFMT(info.external_attr >> 16)
            is_file = mode in (0, stat.S_IFREG) and not info.is_dir()
            is_folder = mode in (0, stat.S_IFDIR) and info.is_dir()
            yield Member(info.filename, is_folder, is_file, partial(archive.open, info))


def _tar_members(path: Path) -> Iterator[Member]:
    with tarfile.open(path, "r:gz") as archive:
        for info in archive:
            yield Member(info.name, info.isdir(), info.isreg(), partial(archive.extractfile, info))
