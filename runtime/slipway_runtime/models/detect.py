"""What kind of file an artifact is, found from its content alone. Nothing is unpickled or run."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from slipway_runtime.contract import Format

SUPPORTED: Final = "TorchScript; Python where spec.artifact.format says so"

_PROBE_BYTES: Final = 512

_MAGIC: Final = (
    (b"GGUF", "a GGUF language model"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, such as a Keras model"),
    (b"\x93NUMPY", "a numpy array"),
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a zstandard file"),
    (b"version https://git-lfs", "a Git LFS pointer instead of the file it stands for"),
    (b"\x7fELF", "a program or shared library"),
)
_SAFETENSORS_HEADER_LIMIT_BYTES: Final = 100_000_000
"""Source: the safetensors format."""
_EXPORT: Final = "Load the model in Python and save it again: slipway.torchscript.save(module, path, inputs={...})."


_PYTHON: Final = (
    "Python code, which is run only when it is asked for",
    "Set spec.artifact.format to Python (--format Python) if you trust it.",
)
_CODE: Final = re.compile(rb"^(async )?def predict\(|^class Handler\b|^(import|from) \w+", re.MULTILINE)


class UnsupportedFormatError(ValueError):
    """The message names what was recognised, what is supported and the way out."""


def detect_format(path: Path) -> Format:
    if path.is_dir():
        raise _unsupported(*(_PYTHON if (path / "handler.py").is_file() else ("a directory", "Name one file.")))
    with path.open("rb") as file:
        head = file.read(_PROBE_BYTES)
    if not head:
        raise _unsupported("an empty file", "Check how it was uploaded.")
    if zipfile.is_zipfile(path):
        return _detect_in_archive(path)
    if head.startswith(b"PK\x03\x04"):
        raise _unsupported(
            "the beginning of a zip archive without its end", "The file is cut short; upload it again or set a digest."
        )
    raise _unsupported(*_recognise(head))


def _detect_in_archive(path: Path) -> Format:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise _unsupported("a zip archive that cannot be read", "Upload it again.") from None
    inner = {name.partition("/")[2] for name in names}

    def has(prefix: str) -> bool:
        return any(name.startswith(prefix) for name in inner)

    if "constants.pkl" in inner and has("code/"):
        return Format.TORCH_SCRIPT
    kinds: tuple[tuple[Callable[[], bool], str, str], ...] = (
        (
            lambda: "archive_format" in inner or has("models/") or "serialized_exported_program.json" in names,
            "a torch.export program (.pt2)",
            "Load it with torch.export.load and save program.module() with slipway.torchscript.save.",
        ),
        (
            lambda: "data.pkl" in inner,
            "a file written by torch.save, most often a state dict: weights without the code that uses them",
            "Build the module in Python, load the weights into it and save it: slipway.torchscript.save(module, path,"
            " inputs={...}).",
        ),
        (lambda: "handler.py" in inner or "handler.py" in names, *_PYTHON),
        (lambda: "MAR-INF/MANIFEST.json" in names, "a TorchServe archive (.mar)", _EXPORT),
        (lambda: "model.weights.h5" in names, "a Keras model (.keras)", _EXPORT),
        (lambda: bool(names) and all(name.endswith(".npy") for name in names), "a set of numpy arrays", _EXPORT),
    )
    for matches, kind, way_out in kinds:
        if matches():
            raise _unsupported(kind, way_out)
    raise _unsupported("a zip archive of another kind", _EXPORT)


def _recognise(head: bytes) -> tuple[str, str]:
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            way_out = "Fetch the file with git lfs pull and upload that." if "LFS" in kind else _EXPORT
            return kind, way_out
    text = head.lstrip().lower()
    kinds = (
        (
            text.startswith((b"<!doctype", b"<html")),
            "an HTML page",
            "The URI leads to a web page, perhaps a login form; name the file itself.",
        ),
        (
            text.startswith(b"<?xml"),
            "an XML document",
            "It may be a store's error message; open the URI with curl and look.",
        ),
        (
            head[8:9] == b"{" and int.from_bytes(head[:8], "little") < _SAFETENSORS_HEADER_LIMIT_BYTES,
            "a safetensors file: weights without the code that uses them",
            _EXPORT,
        ),
        (_CODE.search(head) is not None, *_PYTHON),
        (head[4:8] == b"TFL3", "a TensorFlow Lite model", _EXPORT),
        (
            head[0] == 0x80 and head[1:2] <= b"\x05",
            "a Python pickle, which can run any code when it is opened and is never opened here",
            _EXPORT,
        ),
        (head[0] == 0x08 and head[2:3] in (b"\x12", b"\x1a", b"\x3a"), "an ONNX model", _EXPORT),
    )
    for matches, kind, way_out in kinds:
        if matches:
            return kind, way_out
    return f"a file of no known kind (it begins with {head[:8]!r})", _EXPORT


def _unsupported(kind: str, way_out: str) -> UnsupportedFormatError:
    return UnsupportedFormatError(f"The artifact is {kind}. Supported: {SUPPORTED}. {way_out}")
