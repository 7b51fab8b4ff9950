"""Gives back what thousands of parsed objects leave behind.

kopf's views of a body refer to each other, so each event's object lives on until the garbage collector looks at the
oldest generation, which it does the more rarely the more there is.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable


def freeze_imports() -> None:
    """Once all is imported: the collector need never look at that again, and so looks at the rest sooner."""
    gc.collect()
    gc.freeze()


def give_back() -> None:
    """After much was parsed. Takes some tens of milliseconds with thousands of ModelDeployments."""
    gc.collect()
    _trim(0)


def _find_trim() -> Callable[[int], int]:
    """glibc keeps freed memory for itself unless it is asked; other C libraries have no such call."""
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return lambda padding: 0
    return found


_trim = _find_trim()
