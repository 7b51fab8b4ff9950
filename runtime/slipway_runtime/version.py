"""Which release this is."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def runtime_version() -> str:
    """`0` where the package is not installed, such as in a source tree."""
    try:
        return version("slipway")
    except PackageNotFoundError:
        return "0"
