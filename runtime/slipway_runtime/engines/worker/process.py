"""The gateway's hold on one worker process: started, spoken to, killed, and always waited for."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from slipway_runtime import children
from slipway_runtime.engines.worker.wire import BrokenMessageError, Channel, Message
from slipway_runtime.logs import current_format

_POLL_SECONDS: Final = 0.1
"""Where the kernel or its sandbox has no pidfd."""

log = logging.getLogger(__name__)


class WorkerProcess:
    """From its start to its end. Every callback comes in the loop's thread; `on_end` is the last one, and then the
    process is waited for and all descriptors are closed."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        variables: Mapping[str, str],
        on_message: Callable[[Message], None],
        on_broken: Callable[[str], None],
        on_end: Callable[[int], None],
    ) -> None:
        """Raises `OSError` when the process cannot be started.

        To be called in the thread that runs the loop and lives as long as the gateway: when the thread that started a
        worker ends, the kernel ends the worker.
        """
        self._loop = loop
        self._on_message = on_message
        self._on_broken = on_broken
        self._on_end = on_end
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            self._popen = subprocess.Popen(
                _command(theirs.fileno()),
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, **variables},
                process_group=0,  # a person's Ctrl-C reaches the gateway alone
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.pid: Final = self._popen.pid
        children.await_child(self.pid)
        self._channel = Channel(ours)
        self._listening = True
        self._pidfd = _open_pidfd(self.pid)
        loop.add_reader(ours.fileno(), self.receive)
        if self._pidfd is None:
            loop.call_later(_POLL_SECONDS, self._poll)
        else:
            loop.add_reader(self._pidfd, self._poll)

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """A failure is no error: the process is gone or will be killed, and `on_end` follows."""
        try:
            self._channel.send(message, descriptors)
        except OSError as error:
            log.warning("Worker process %d takes no messages (%s)", self.pid, error.strerror)
            self.kill()

    def receive(self) -> None:
        """Hands on every message that is there."""
        while self._listening:
            try:
                received = self._channel.receive()
            except BlockingIOError:
                return
            except BrokenMessageError as error:
                self._stop_listening()
                self._on_broken(str(error))
                return
            except OSError:
                received = None
            if received is None:
                # It closed its end, so it is ending, or will never answer again.
                self._stop_listening()
                self.kill()
                return
            message, descriptors = received
            for descriptor in descriptors:
                os.close(descriptor)  # a worker has no use for sending any
            self._on_message(message)

    def kill(self) -> None:
        """With all processes that it started, unless they left its group."""
        if self._popen.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _poll(self) -> None:
        if self._pidfd is not None:
            self.kill()  # what it started; the process itself is no more, and its number is not yet another's
        code = self._popen.poll()
        if code is None:
            if self._pidfd is None:
                self._loop.call_later(_POLL_SECONDS, self._poll)
            return
        children.forget_child(self.pid)
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
        # What it said before it ended counts.
        self.receive()
        self._stop_listening()
        self._channel.close()
        self._on_end(code)

    def _stop_listening(self) -> None:
        if self._listening:
            self._listening = False
            self._loop.remove_reader(self._channel.fileno())


def resident_bytes(pid: int) -> int:
    """0 when there is no such process any more."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _command(descriptor: int) -> list[str]:
    module = "slipway_runtime.engines.worker"
    return [sys.executable, "-m", module, "--descriptor", str(descriptor), "--log-format", current_format()]


def _open_pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None
