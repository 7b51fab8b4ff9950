"""TLS from mounted files, which are read again when they change: new connections meet the new certificate."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from slipway_runtime.contract import FailureReason, Stage, TLSConfig
from slipway_runtime.failure import StartupError

_CHECK_SECONDS: Final = 1.0

Fingerprint = tuple[tuple[int, int, int], ...]
"""Of both files: inode, time of change, size. A mounted Secret changes by a symbolic link, and so its inodes."""

log = logging.getLogger(__name__)


class Certificate:
    def __init__(self, config: TLSConfig, now: Callable[[], float] = time.monotonic) -> None:
        """Raises `StartupError` when the files are no pair of certificate and key."""
        self._certificate = Path(config.certificate_path)
        self._key = Path(config.key_path)
        self._now = now
        self._check_at = now() + _CHECK_SECONDS
        self._trouble = ""
        self.context = _new_context()
        try:
            self._fingerprint = self._look()
            self._load(self.context)
        except (OSError, ValueError) as error:
            raise StartupError(Stage.CONFIG, FailureReason.INVALID_CONFIG, f"tls: {self._explain(error)}") from None

    def refresh(self) -> None:
        """Called often; looks at the files once a second."""
        if self._now() < self._check_at:
            return
        self._check_at = self._now() + _CHECK_SECONDS
        try:
            fingerprint = self._look()
            if fingerprint == self._fingerprint:
                return
            self._fingerprint = fingerprint
            # Tried apart first: a pair that does not fit together would leave half of it in the context in use.
            self._load(_new_context())
            self._load(self.context)
        except (OSError, ValueError) as error:
            self._complain(self._explain(error))
            return
        self._trouble = ""
        log.info("New connections get the new certificate", extra={"path": str(self._certificate)})

    def _complain(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.error("The old certificate stays: %s", trouble)
        self._trouble = trouble

    def _load(self, context: ssl.SSLContext) -> None:
        # Without the password an encrypted key would be asked for at the terminal.
        context.load_cert_chain(self._certificate, self._key, password="")

    def _look(self) -> Fingerprint:
        states = [path.stat() for path in (self._certificate, self._key)]
        return tuple((state.st_ino, state.st_mtime_ns, state.st_size) for state in states)

    def _explain(self, error: Exception) -> str:
        pair = f"{self._certificate} and {self._key}"
        if isinstance(error, ssl.SSLError) or not isinstance(error, OSError):
            reason = getattr(error, "reason", None) or error
            return f"{pair} are no certificate and its unencrypted key in PEM form ({reason})."
        return f"{error.filename or pair} cannot be read: {error.strerror}."


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
