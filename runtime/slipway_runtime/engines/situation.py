"""What the container has: CPUs, GPUs, memory and an artifact of some format and size."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from slipway_runtime.contract import Format
from slipway_runtime.engines.choice import Situation
from slipway_runtime.engines.memory import MemoryWatch
from slipway_runtime.models.detect import UnsupportedFormatError, detect_format
from slipway_runtime.models.threads import usable_cpus

log = logging.getLogger(__name__)


def look_around(path: Path, expected: Format, environment: Mapping[str, str] = os.environ) -> Situation:
    """An artifact that cannot be read counts as empty; loading it says what is wrong."""
    return Situation(
        format=_format(path, expected),
        artifact_bytes=_size_bytes(path),
        cpus=usable_cpus(),
        gpus=visible_gpus(environment),
        memory_bytes=MemoryWatch().free_bytes(),
        threads=_threads(environment),
    )


def visible_gpus(environment: Mapping[str, str]) -> Sequence[str]:
    """As CUDA_VISIBLE_DEVICES names them, without asking torch, which the gateway does not load."""
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        named = [name.strip() for name in chosen.split(",")]
        # CUDA takes the names up to the first that is none.
        end = next((position for position, name in enumerate(named) if name in ("", "-1")), len(named))
        return named[:end]
    return [str(number) for number in range(_count_gpus())]


def _count_gpus() -> int:
    pynvml: Any = import_module("pynvml")  # it ships no types
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return 0  # no driver
    try:
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError as error:
        log.warning("The GPUs cannot be counted: %s", error)
        return 0
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _format(path: Path, expected: Format) -> Format:
    if expected is not Format.AUTO:
        return expected
    try:
        return detect_format(path)
    except (UnsupportedFormatError, OSError):
        return expected


def _size_bytes(path: Path) -> int:
    try:
        if path.is_dir():
            return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        return path.stat().st_size
    except OSError:
        return 0


def _threads(environment: Mapping[str, str]) -> int | None:
    value = environment.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(value) if value.isdecimal() and int(value) else None
