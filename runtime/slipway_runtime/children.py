"""As process 1 of a container the runtime inherits every process whose parent ended, and waits for each.

Workers are waited for by their engine; those of others would stay as zombies until the container's limit of processes
is reached.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final

_EVERY_SECONDS: Final = 2.0

_awaited: Final[set[int]] = set()


def await_child(pid: int) -> None:
    """Its parent waits for it."""
    _awaited.add(pid)


def forget_child(pid: int) -> None:
    _awaited.discard(pid)


def reap_adopted() -> int:
    """Waits for those that ended and that nobody else waits for; how many there were."""
    reaped = 0
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return reaped  # no children at all
        if ended is None or ended.si_pid in _awaited:
            return reaped
        os.waitpid(ended.si_pid, 0)
        reaped += 1


def keep_reaping(loop: asyncio.AbstractEventLoop) -> None:
    """For as long as the loop runs; does nothing unless this is process 1."""
    if os.getpid() != 1:
        return

    def reap() -> None:
        reap_adopted()
        loop.call_later(_EVERY_SECONDS, reap)

    reap()
