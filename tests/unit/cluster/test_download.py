"""A release is used only when its bytes have the checksum that its publisher names; against a real HTTP server."""

from __future__ import annotations

import hashlib
import io
import socket
import tarfile
from pathlib import Path

import pytest

from tests.cluster.download import DownloadFailedError, checksum_of, download
from tests.cluster.versions import COMPONENTS, Release
from tests.fixtures.site import Site

pytestmark = pytest.mark.unit

PROGRAM = b"#!/bin/sh\necho v1.2.3\n" * 1000
SHA256 = hashlib.sha256(PROGRAM).hexdigest()


@pytest.fixture
def release(site: Site) -> Release:
    site.files = {"/kubectl": PROGRAM, "/kubectl.sha256": SHA256.encode()}
    return Release(site.url("/kubectl"), site.url("/kubectl.sha256"))


def packed(member: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo(member)
        info.size = len(PROGRAM)
        tar.addfile(info, io.BytesIO(PROGRAM))
    return buffer.getvalue()


def test_program_is_executable_when_its_checksum_is_right(release: Release, tmp_path: Path) -> None:
    download(release, tmp_path / "kubectl")
    assert (tmp_path / "kubectl").read_bytes() == PROGRAM
    assert (tmp_path / "kubectl").stat().st_mode & 0o111 == 0o111
    assert [path.name for path in tmp_path.iterdir()] == ["kubectl"]


def test_redirect_is_followed(site: Site, release: Release, tmp_path: Path) -> None:
    site.moved["/latest"] = site.url("/kubectl")
    download(Release(site.url("/latest"), release.checksum_url), tmp_path / "kubectl")
    assert (tmp_path / "kubectl").read_bytes() == PROGRAM


def test_program_is_unpacked_when_the_release_is_an_archive(site: Site, tmp_path: Path) -> None:
    archive = packed("linux-amd64/helm")
    site.files = {
        "/helm.tar.gz": archive,
        "/SHA256SUMS": f"{'0' * 64}  other.tar.gz\n{hashlib.sha256(archive).hexdigest()}  helm.tar.gz\n".encode(),
    }
    release = Release(site.url("/helm.tar.gz"), site.url("/SHA256SUMS"), "linux-amd64/helm")
    download(release, tmp_path / "helm")
    assert (tmp_path / "helm").read_bytes() == PROGRAM


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("other bytes", "its publisher says"),
        ("no program", "404"),
        ("no checksum", "404"),
        ("truncated", "RemoteProtocolError"),
        ("empty checksum", "holds no sha256 of kubectl"),
        ("checksum page", "holds no sha256 of kubectl"),
    ],
)
def test_nothing_is_left_when_the_release_is_not_right(
    site: Site, release: Release, tmp_path: Path, fault: str, complaint: str
) -> None:
    if fault == "other bytes":
        site.files["/kubectl"] = PROGRAM + b"\n"
    elif fault == "no program":
        del site.files["/kubectl"]
    elif fault == "no checksum":
        del site.files["/kubectl.sha256"]
    elif fault == "truncated":
        site.truncated.add("/kubectl")
    else:
        site.files["/kubectl.sha256"] = b"" if fault == "empty checksum" else b"<html>blocked</html>"
    with pytest.raises(DownloadFailedError, match=complaint):
        download(release, tmp_path / "kubectl")
    assert list(tmp_path.iterdir()) == []


def test_archive_without_the_program_is_refused(site: Site, tmp_path: Path) -> None:
    archive = packed("linux-amd64/README")
    site.files = {"/helm.tgz": archive, "/helm.tgz.sha256": hashlib.sha256(archive).hexdigest().encode()}
    with pytest.raises(DownloadFailedError, match="holds no file linux-amd64/helm"):
        download(Release(site.url("/helm.tgz"), site.url("/helm.tgz.sha256"), "linux-amd64/helm"), tmp_path / "helm")
    assert list(tmp_path.iterdir()) == []


def test_failure_is_quick_when_nobody_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/kubectl"
    with pytest.raises(DownloadFailedError, match="ConnectError"):
        download(Release(url, url + ".sha256"), tmp_path / "kubectl")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SHA256, SHA256),
        (f"{SHA256}\n", SHA256),
        (f"{SHA256}  helm.tgz\n", SHA256),
        (f"{SHA256} *helm.tgz\n", SHA256),
        (f"{SHA256}  other.tgz\n", None),
        ("not a checksum", None),
    ],
)
def test_checksum_files_are_read_in_each_of_their_forms(text: str, expected: str | None) -> None:
    assert checksum_of(text, "helm.tgz") == expected


def test_every_release_has_a_checksum_of_its_own_publisher() -> None:
    released = [component for component in COMPONENTS.values() if component.release is not None]
    # Only images are published of it; it is compiled on every machine.
    assert {component.name for component in COMPONENTS.values()} - {component.name for component in released} == {
        "metrics-server"
    }
    for component in released:
        assert component.release is not None
        assert component.version in component.release.url
        assert component.release.url.startswith("https://")
        assert component.release.url.rsplit("/", 1)[0] == component.release.checksum_url.rsplit("/", 1)[0]
