"""Official release downloads: fetched, checked against the publisher's checksum, unpacked."""

from __future__ import annotations

import hashlib
import re
import tarfile
from pathlib import Path
from typing import Final

import httpx

from tests.cluster.versions import Release

# Short to connect, so that a machine without the open internet goes on to the Go build at once.
TIMEOUT: Final = httpx.Timeout(60.0, connect=5.0)
CHUNK_BYTES: Final = 1 << 20
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class DownloadFailedError(Exception):
    """The release cannot be had here; says why in one line."""


def download(release: Release, target: Path) -> None:
    """Write the program to `target`, or raise and leave nothing there."""
    archive = target.with_suffix(".download")
    try:
        with httpx.Client(timeout=TIMEOUT, follow_redirects=True) as client:
            expected = _checksum(client, release)
            actual = _fetch(client, release.url, archive)
        if actual != expected:
            raise DownloadFailedError(f"{release.url}: sha256 is {actual}, its publisher says {expected}")
        if release.member is None:
            archive.replace(target)
        else:
            _unpack(archive, release.member, target)
        target.chmod(0o755)
    except (httpx.HTTPError, OSError, tarfile.TarError) as error:
        target.unlink(missing_ok=True)
        raise DownloadFailedError(f"{release.url}: {type(error).__name__}: {error}") from error
    finally:
        archive.unlink(missing_ok=True)


def checksum_of(text: str, file_name: str) -> str | None:
    """From a file that holds a bare checksum, or lines of `CHECKSUM  NAME` as sha256sum writes them."""
    for line in text.splitlines():
        checksum, _, name = line.strip().partition(" ")
        if _SHA256.fullmatch(checksum) and name.strip().lstrip("*") in ("", file_name):
            return checksum
    return None


def _checksum(client: httpx.Client, release: Release) -> str:
    answer = client.get(release.checksum_url)
    answer.raise_for_status()
    file_name = release.url.rpartition("/")[2]
    checksum = checksum_of(answer.text, file_name)
    if checksum is None:
        raise DownloadFailedError(f"{release.checksum_url}: holds no sha256 of {file_name}")
    return checksum


def _fetch(client: httpx.Client, url: str, target: Path) -> str:
    digest = hashlib.sha256()
    with client.stream("GET", url) as answer, target.open("wb") as file:
        answer.raise_for_status()
        for chunk in answer.iter_bytes(CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _unpack(archive: Path, member: str, target: Path) -> None:
    with tarfile.open(archive, "r:gz") as tar:
        try:
            content = tar.extractfile(member)
        except KeyError:
            content = None
        if content is None:
            raise DownloadFailedError(f"{archive.name}: holds no file {member}")
        with content, target.open("wb") as file:
            while chunk := content.read(CHUNK_BYTES):
                file.write(chunk)
