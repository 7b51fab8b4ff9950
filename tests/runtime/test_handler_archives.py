"""Handlers from files, folders and archives: what they bring along works, what reaches out of its folder is refused."""

from __future__ import annotations

import io
import stat
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slipway_runtime.contract import FailureReason, Format
from slipway_runtime.failure import StartupError
from slipway_runtime.models.handler.unpack import Limits, open_code
from slipway_runtime.models.load import load_model, warm_up_model
from slipway_runtime.models.signaturefile import ModelLoadError

pytestmark = [pytest.mark.runtime, pytest.mark.timeout(300)]

ROWS = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
SIGNATURE = b"""
def signature():
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}]}
"""
HANDLER = b"import helper\n\ndef predict(batch, ctx):\n    return helper.total(batch['x'])\n" + SIGNATURE
HELPER = b"def total(x):\n    return x.sum(axis=1) + offset()\n\ndef offset():\n    return 1\n"


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def make_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("folder", ["", "./", "project/"])
@pytest.mark.parametrize("name", ["model.bin", "a" * 64])
def test_an_archive_brings_its_own_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[..., Path], folder: str, name: str
) -> None:
    monkeypatch.delitem(sys.modules, "helper", raising=False)
    path = make(tmp_path / name, {f"{folder}handler.py": HANDLER, f"{folder}helper.py": HELPER})
    for _ in range(2):
        model = load_model(path, Format.PYTHON, [])
        assert model.predict({"x": ROWS})["y"].tolist() == [4, 8, 12]
        model.close()
    left = [entry.name for entry in tmp_path.iterdir()]
    assert sorted(left) == ([name, f"{name}.unpacked"] if len(name) == 64 else [name])


def test_a_folder_is_used_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "helper", raising=False)
    (tmp_path / "handler.py").write_bytes(HANDLER.partition(b"\ndef signature")[0])
    (tmp_path / "helper.py").write_bytes(HELPER)
    (tmp_path / "slipway.json").write_text('{"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]}')
    model = load_model(tmp_path, Format.PYTHON, [])
    assert warm_up_model(model, []).outputs[0].name == "output__0"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["handler.py", "helper.py", "slipway.json"]


def _tar_with(change: Callable[[tarfile.TarInfo], None]) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        with tarfile.open(path, "w:gz") as archive:
            info = tarfile.TarInfo("evil")
            change(info)
            archive.addfile(info)
        return path

    return make


def _link(kind: bytes, target: str) -> Callable[[tarfile.TarInfo], None]:
    def change(info: tarfile.TarInfo) -> None:
        info.type = kind
        info.linkname = target

    return change


def _zip_link(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("evil")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return path


def _renamed(name: str) -> Callable[[Path], Path]:
    return lambda path: make_tar(path, {name: b"x"})


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (_renamed("../evil"), "outside of its folder"),
        (_renamed("/evil"), "outside of its folder"),
        (_renamed("a\\..\\evil"), "outside of its folder"),
        (lambda path: make_zip(path, {"../evil": b"x"}), "outside of its folder"),
        (_tar_with(_link(tarfile.SYMTYPE, "/etc/passwd")), "a link or a device"),
        (_tar_with(_link(tarfile.LNKTYPE, "/etc/passwd")), "a link or a device"),
        (_tar_with(_link(tarfile.CHRTYPE, "")), "a link or a device"),
        (_zip_link, "a link or a device"),
        (lambda path: make_tar(path, {"a": b"", "a/b": b""}), "twice"),
        (lambda path: make_zip(path, {"zeros": b"\0" * (65 * 2**20)}), "unpacks to more than it may"),
        (lambda path: make_zip(path, {"b.py": b"", "a": b""}), "there is no handler.py; found ['a', 'b.py']"),
    ],
)
def test_an_archive_that_does_what_it_must_not_is_refused(
    tmp_path: Path, make: Callable[[Path], Path], expected: str
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    path = make(inside / ("b" * 64))
    with pytest.raises(StartupError) as raised:
        load_model(path, Format.PYTHON, [])
    assert raised.value.reason == FailureReason.MODEL_LOAD_FAILED
    assert expected in raised.value.message
    assert not (tmp_path / "evil").exists()
    assert {entry.name for entry in inside.iterdir()} <= {path.name, f"{path.name}.unpacked"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"\x7fELF\0\0", "is no text"),
        (b"\x1f\x8b\x08broken", "cannot be read"),
        (b"PK\x03\x04\0", "no text"),
    ],
)
def test_what_is_no_code_is_named(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "artifact"
    path.write_bytes(content)
    with pytest.raises(StartupError, match=expected):
        load_model(path, Format.PYTHON, [])


@pytest.mark.parametrize("kind", ["file", "folder", "zip"])
def test_code_runs_only_when_it_is_asked_for_by_name(tmp_path: Path, kind: str) -> None:
    marker = tmp_path / "ran"
    source = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\ndef predict(batch, ctx): ...\n".encode()
    path = tmp_path / "artifact"
    if kind == "zip":
        make_zip(path, {"handler.py": source})
    elif kind == "folder":
        path.mkdir()
        (path / "handler.py").write_bytes(source)
    else:
        path.write_bytes(source)
    with pytest.raises(StartupError, match=r"Set spec\.artifact\.format to Python") as raised:
        load_model(path, Format.AUTO, [])
    assert raised.value.reason == FailureReason.UNSUPPORTED_FORMAT
    assert not marker.exists()


def test_an_archive_of_too_many_entries_is_refused(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "handler.tar.gz", {str(number): b"" for number in range(11)})
    with pytest.raises(ModelLoadError, match="more than 10 entries"):
        open_code(path, Limits(entries=10))


def test_an_archive_is_refused_by_what_comes_out_and_not_by_what_it_says(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "handler.zip", {"handler.py": b"#" * 5000})
    with pytest.raises(ModelLoadError, match="unpacks to more than it may"):
        open_code(path, Limits(size_bytes=4999))
    code = open_code(path, Limits(size_bytes=5000))
    assert code.file.stat().st_size == 5000
    code.remove()
    assert not code.folder.exists()
