"""API keys: who gets in, and what happens when the file changes under a running process."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from slipway_runtime.http.auth import ApiKeys, presented_key

pytestmark = pytest.mark.unit


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def write(path: Path, content: bytes) -> None:
    """Replaced whole, as an editor or the kubelet does: another inode."""
    fresh = path.with_name(".fresh")
    fresh.write_bytes(content)
    fresh.rename(path)


@pytest.mark.feature("auth")
def test_lets_in_who_shows_one_of_the_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(b"first\r\n\n  second  \nthird")
    keys = ApiKeys(path)
    assert [keys.allows(key) for key in (b"first", b"second", b"third")] == [True] * 3
    assert [keys.allows(key) for key in (b"", b"fir", b"First", b"first\n", b"first\r\n\n  second")] == [False] * 5


@pytest.mark.feature("auth")
def test_learns_of_new_keys_within_a_second_and_forgets_the_old(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "keys"
    path.write_bytes(b"old")
    keys = ApiKeys(path, clock)
    write(path, b"new")
    assert keys.allows(b"old"), "the file is not looked at for every request"
    clock.seconds += 1
    assert (keys.allows(b"old"), keys.allows(b"new")) == (False, True)


def test_follows_the_switch_of_a_mounted_secret(tmp_path: Path) -> None:
    clock = Clock()
    for generation, key in (("..2026_1", b"one"), ("..2026_2", b"two")):
        (tmp_path / generation).mkdir()
        (tmp_path / generation / "team-a").write_bytes(key)
    (tmp_path / "..data").symlink_to("..2026_1")
    (tmp_path / "team-a").symlink_to("..data/team-a")
    keys = ApiKeys(tmp_path, clock)
    assert keys.allows(b"one")
    (tmp_path / "..next").symlink_to("..2026_2")
    (tmp_path / "..next").rename(tmp_path / "..data")
    clock.seconds += 1
    assert (keys.allows(b"one"), keys.allows(b"two")) == (False, True)


def test_knows_the_keys_of_every_file_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one\n")
    (tmp_path / "b").write_bytes(b"two\n")
    (tmp_path / ".hidden").write_bytes(b"three\n")
    keys = ApiKeys(tmp_path)
    assert (len(keys), keys.allows(b"one"), keys.allows(b"two"), keys.allows(b"three")) == (2, True, True, False)


@pytest.mark.parametrize("content", [None, b"", b" \n\n", b"k" * (1024 * 1024 + 1)])
def test_lets_nobody_in_without_a_key_and_says_why_once(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    clock, path = Clock(), tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    keys = ApiKeys(path, clock)
    for _ in range(3):
        clock.seconds += 1
        assert not keys.allows(b"")
        assert not keys.allows(b"k")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert str(path) in caplog.text
    write(path, b"right")
    clock.seconds += 1
    assert keys.allows(b"right")


def test_closes_when_the_file_goes_away(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "keys"
    path.write_bytes(b"key")
    keys = ApiKeys(path, clock)
    assert keys.allows(b"key")
    path.unlink()
    clock.seconds += 1
    assert not keys.allows(b"key")


def test_sees_a_change_that_keeps_the_size(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "keys"
    path.write_bytes(b"aaa")
    keys = ApiKeys(path, clock)
    path.write_bytes(b"bbb")
    os.utime(path, ns=(1, 1))
    clock.seconds += 1
    assert keys.allows(b"bbb")


def test_never_logs_or_keeps_a_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "keys"
    path.write_bytes(b"hunter2\n")
    keys = ApiKeys(path)
    assert keys.allows(b"hunter2")
    assert not keys.allows(b"guess99")
    assert "hunter2" not in caplog.text + repr(vars(keys))
    assert "guess99" not in caplog.text


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({b"authorization": b"Bearer abc"}, b"abc"),
        ({b"authorization": b"bearer  abc "}, b"abc"),
        ({b"x-api-key": b"abc"}, b"abc"),
        ({b"authorization": b"Basic YTpi", b"x-api-key": b"abc"}, b"abc"),
        ({b"authorization": b"Basic YTpi"}, b""),
        ({}, b""),
    ],
)
def test_finds_the_key_in_either_header(headers: dict[bytes, bytes], key: bytes) -> None:
    assert presented_key(headers) == key
