"""A configuration that cannot be meant ends the start with the place and the way out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slipway_runtime.config import read_config
from slipway_runtime.contract import FailureReason
from slipway_runtime.failure import StartupError

pytestmark = pytest.mark.unit


def configured(tmp_path: Path, keys: Path) -> Path:
    path = tmp_path / "config.json"
    said = {"name": "digits", "artifact": {"uri": "file:///model.pt"}, "auth": {"apiKeysPath": str(keys)}}
    path.write_text(json.dumps(said))
    return path


@pytest.mark.parametrize("content", [None, "", "\n  \n"])
def test_a_start_without_any_api_key_is_refused_when_keys_are_asked_for(tmp_path: Path, content: str | None) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    if content is not None:
        (keys / "team").write_text(content)
    with pytest.raises(StartupError, match=r"apiKeysPath: .*keys holds no key .* spec\.traffic\.auth") as caught:
        read_config(configured(tmp_path, keys), {})
    assert caught.value.reason is FailureReason.INVALID_CONFIG


def test_one_key_suffices_for_a_start(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("abc\n")
    auth = read_config(configured(tmp_path, keys), {}).auth
    assert auth is not None
    assert auth.api_keys_path == str(keys)
