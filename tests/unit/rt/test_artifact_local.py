"""Artifacts that lie on this machine already."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from slipway_runtime.artifact.fetch import fetch_artifact
from slipway_runtime.artifact.source import ArtifactError
from slipway_runtime.contract import ArtifactConfig, FailureReason

pytestmark = pytest.mark.unit


def test_uses_a_local_file_where_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "a model.pt"
    path.write_bytes(b"weights")
    fetched = fetch_artifact(ArtifactConfig(uri=f"file://{tmp_path}/a%20model.pt"), tmp_path / "cache")
    assert fetched.path == path
    assert fetched.digest == f"sha256:{hashlib.sha256(b'weights').hexdigest()}"
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("name", ["missing.pt", ""])
def test_is_not_found_when_there_is_no_such_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError) as raised:
        fetch_artifact(ArtifactConfig(uri=f"file://{tmp_path}/{name}"), tmp_path / "cache")
    assert raised.value.reason == FailureReason.ARTIFACT_NOT_FOUND
