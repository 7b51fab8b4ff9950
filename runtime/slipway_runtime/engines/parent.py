"""The tie of a process to the gateway that started it."""

from __future__ import annotations

import ctypes
import os
import select
import signal
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def obey_parent(link: int) -> None:
    """The gateway decides when this process ends; when it is gone, the kernel does, even in the middle of a batch.

    To be called in the main thread, before anything that takes long. `link` is a descriptor of what the gateway has the
    other end of.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Of a gateway that ended before that the kernel tells nothing.
    poll = select.poll()
    poll.register(link, 0)
    if poll.poll(0):
        os._exit(0)
