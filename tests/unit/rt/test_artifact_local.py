"""Artifacts that lie on this machine already."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from slipway_runtime.artifact.fetch import fetch_artifact
from slipway_runtime.artifact.source import ArtifactError
from slipway_runtime.contract import ArtifactConfig, FailureReason, Format

pytestmark = pytest.mark.unit


def test_uses_a_local_file_where_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "a model.pt"
    path.write_bytes(b"weights")
    fetched = fetch_artifact(ArtifactConfig(uri=f"file://{tmp_path}/a%20model.pt"), tmp_path / "cache")
    assert fetched.path == path
    assert fetched.digest == f"sha256:{hashlib.sha256(b'weights').hexdigest()}"
    assert not (tmp_path / "cache").exists()


def test_a_link_is_told_with_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "v3").mkdir()
    (tmp_path / "v3" / "a model.pt").write_bytes(b"weights")
    (tmp_path / "current").symlink_to("v3")
    fetched = fetch_artifact(ArtifactConfig(uri=f"file://{tmp_path}/current/a%20model.pt"), tmp_path / "cache")
    assert fetched.resolved_uri == f"file://{tmp_path}/v3/a%20model.pt"


@pytest.mark.parametrize("name", ["missing.pt", ""])
def test_is_not_found_when_there_is_no_such_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError) as raised:
        fetch_artifact(ArtifactConfig(uri=f"file://{tmp_path}/{name}"), tmp_path / "cache")
    assert raised.value.reason == FailureReason.ARTIFACT_NOT_FOUND


def test_a_folder_is_a_handler_whose_digest_covers_every_file(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    (folder / "parts").mkdir(parents=True)
    (folder / "handler.py").write_text("x = 1")
    (folder / "parts" / "weights").write_bytes(b"12345")
    config = ArtifactConfig(uri=f"file://{folder}", format=Format.PYTHON)
    first = fetch_artifact(config, tmp_path / "cache")
    assert (first.path, first.size_bytes) == (folder, 10)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "handler.pyc").write_bytes(b"made by Python")
    assert fetch_artifact(config, tmp_path / "cache").digest == first.digest
    (folder / "parts" / "weights").rename(folder / "parts" / "moved")
    assert fetch_artifact(config, tmp_path / "cache").digest != first.digest
    with pytest.raises(ArtifactError, match="Only a Python handler"):
        fetch_artifact(ArtifactConfig(uri=f"file://{folder}"), tmp_path / "cache")
