"""The artifact of another server: whole, checked, under its own name."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slipway_runtime.artifact.deliver import deliver
from slipway_runtime.contract import ArtifactConfig, FailureReason, Stage, artifact_file_name
from slipway_runtime.failure import StartupError

pytestmark = pytest.mark.unit

DIGEST = f"sha256:{hashlib.sha256(b'weights').hexdigest()}"


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "store" / "a model.pt"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    return path


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://models/digits/model.pt", "model.pt"),
        ("https://example.com/a%20model.onnx?version=3", "a_model.onnx"),
        ("https://example.com/..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("https://example.com/.slipway", "slipway"),
        ("https://example.com/%2e%2e", "artifact"),
    ],
)
def test_it_is_named_after_the_end_of_its_uri_and_never_leaves_its_folder(uri: str, name: str) -> None:
    assert artifact_file_name(uri) == name


def test_what_lies_on_the_machine_is_copied_and_stays(tmp_path: Path, stored: Path) -> None:
    target = deliver(ArtifactConfig(uri=f"file://{stored.parent}/a%20model.pt", digest=DIGEST), tmp_path / "models")
    assert target == tmp_path / "models" / "a_model.pt"
    assert target.read_bytes() == stored.read_bytes() == b"weights"
    assert target.stat().st_mode & 0o777 == 0o644


def test_a_file_with_the_right_digest_is_not_fetched_again(tmp_path: Path, stored: Path) -> None:
    config = ArtifactConfig(uri=f"file://{stored.parent}/a%20model.pt", digest=DIGEST)
    deliver(config, tmp_path / "models")
    stored.unlink()
    assert deliver(config, tmp_path / "models").read_bytes() == b"weights"


def test_a_file_with_another_digest_is_not_delivered(tmp_path: Path, stored: Path) -> None:
    with pytest.raises(StartupError) as raised:
        deliver(ArtifactConfig(uri=f"file://{stored.parent}/a%20model.pt", digest="sha256:" + "0" * 64), tmp_path)
    assert (raised.value.stage, raised.value.reason) == (Stage.VERIFY, FailureReason.DIGEST_MISMATCH)
    assert not (tmp_path / "a_model.pt").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, stored: Path) -> None:
    taken = tmp_path / "models"
    taken.write_text("a file")
    with pytest.raises(StartupError, match=os.fspath(taken)):
        deliver(ArtifactConfig(uri=f"file://{stored.parent}/a%20model.pt"), taken)


def test_the_command_delivers_and_ends(tmp_path: Path, stored: Path) -> None:
    uri = f"file://{stored.parent}/a%20model.pt"
    folder = tmp_path / "models"
    command = [sys.executable, "-m", "slipway_runtime", "--uri", uri, "--digest", DIGEST, "--fetch-to", str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert str(folder / "a_model.pt") in ended.stdout
    assert (folder / "a_model.pt").read_bytes() == b"weights"
    command[command.index(DIGEST)] = "sha256:" + "0" * 64
    (folder / "a_model.pt").unlink()
    refused = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert refused.returncode != 0
    assert "DigestMismatch" in refused.stderr
