"""A timer that is right to the microsecond; an event loop's own are to the millisecond."""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from math import modf
from typing import Final

_CLOCK_MONOTONIC: Final = 1
_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC
_LEAST_SECONDS: Final = 1e-6
"""0 would disarm it."""


class _Spec(ctypes.Structure):
    """`struct itimerspec`: interval and first expiry, each in seconds and nanoseconds."""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


_libc: Final = ctypes.CDLL(None, use_errno=True)


class PreciseTimer:
    """Armed and armed again; `callback` comes in the loop's thread. Raises `OSError` when it cannot be made."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._spec = _Spec()
        self._fd = _libc.timerfd_create(_CLOCK_MONOTONIC, _FLAGS)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        loop.add_reader(self._fd, self._fire)

    def arm(self, seconds: float) -> None:
        """Once, that long from now, instead of what it was armed for."""
        fraction, whole = modf(max(_LEAST_SECONDS, seconds))
        self._spec.seconds, self._spec.nanoseconds = int(whole), int(fraction * 1e9)
        self._set()

    def disarm(self) -> None:
        self._spec.seconds = self._spec.nanoseconds = 0
        self._set()

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _set(self) -> None:
        if self._fd >= 0:
            _libc.timerfd_settime(self._fd, 0, ctypes.byref(self._spec), None)

    def _fire(self) -> None:
        with suppress(BlockingIOError):  # armed anew since it expired
            os.read(self._fd, 8)
            self._callback()
