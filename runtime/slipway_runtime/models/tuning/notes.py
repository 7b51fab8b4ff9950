"""What earlier starts found out about an artifact on this kind of machine, kept beside the cached artifact.

A search is not repeated, and a variant in which the whole process ended twice is not tried again. Notes are only
a help: where they cannot be read or written the search starts from nothing.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from slipway_runtime.contract import Wire
from slipway_runtime.models.tuning.choice import Choice, Variant, parse_choice

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_PACKAGES: Final = ("torch", "onnxruntime", "slipway")
_FATAL_TIMES: Final = 2
"""Once may be a pod that was stopped at that moment."""
_CPUINFO: Final = Path("/proc/cpuinfo")

log = logging.getLogger(__name__)


class _Content(Wire):
    chosen: str | None = None
    trying: str | None = None
    """Set while a variant is built and compared."""
    interrupted: list[str] = []
    """Variants during which a process ended, once for each time."""


class Notes:
    def __init__(self, file: Path | None) -> None:
        """None: nothing is kept."""
        self._file = file
        self._content = self._read()
        if self._content.trying is not None:
            log.warning("An earlier process ended while %s was tried", self._content.trying)
            interrupted = [*self._content.interrupted, self._content.trying]
            self._write(self._content.model_copy(update={"trying": None, "interrupted": interrupted}))

    @property
    def chosen(self) -> Choice | None:
        return parse_choice(self._content.chosen)

    def is_fatal(self, variant: Variant) -> bool:
        return self._content.interrupted.count(variant) >= _FATAL_TIMES

    def begin(self, variant: Variant) -> None:
        self._write(self._content.model_copy(update={"trying": str(variant)}))

    def end(self) -> None:
        others = [name for name in self._content.interrupted if name != self._content.trying]
        self._write(self._content.model_copy(update={"trying": None, "interrupted": others}))

    def choose(self, choice: Choice) -> None:
        self._write(self._content.model_copy(update={"chosen": str(choice)}))

    def _read(self) -> _Content:
        if self._file is not None:
            with suppress(OSError, ValidationError, ValueError):
                return _Content.model_validate_json(self._file.read_bytes())
        return _Content()

    def _write(self, content: _Content) -> None:
        self._content = content
        if self._file is None:
            return
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._file.parent, prefix=".")
            with os.fdopen(handle, "w") as draft:
                draft.write(content.to_json())
            Path(name).replace(self._file)


def open_notes(artifact: Path, circumstances: Mapping[str, str]) -> Notes:
    """Of an artifact in the cache, where its name is its digest; of another file none are kept, as it may change."""
    if _DIGEST.fullmatch(artifact.name) is None:
        return Notes(None)
    text = "\n".join(f"{name}={value}" for name, value in sorted(circumstances.items()))
    key = hashlib.sha256(text.encode()).hexdigest()
    return Notes(artifact.parent.parent / "tuning" / f"{artifact.name[:32]}-{key[:32]}.json")


def describe_machine() -> dict[str, str]:
    """What a measurement hangs on, apart from the model and its settings."""
    found = {"machine": platform.machine(), "cpu": _cpu_model()}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _cpu_model() -> str:
    with suppress(OSError):
        for line in _CPUINFO.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor()
