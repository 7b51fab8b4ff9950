"""The port's certificate, followed when its files change."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Any

import grpc

from slipway_runtime.contract import FailureReason, Stage, TLSConfig
from slipway_runtime.failure import StartupError

Fingerprint = tuple[tuple[int, int, int], ...]

log = logging.getLogger(__name__)


def credentials(tls: TLSConfig) -> Any:
    """The files are looked at on every handshake. Raises `StartupError` when they cannot be read."""
    try:
        follower = _Follower(tls)
    except OSError as error:
        raise StartupError(
            Stage.CONFIG,
            FailureReason.INVALID_CONFIG,
            f"tls: {tls.certificate_path} and {tls.key_path} are no certificate and its unencrypted key in PEM form"
            f" ({error.strerror or error}).",
        ) from None
    return grpc.dynamic_ssl_server_credentials(follower.first, follower.fetch)


class _Follower:
    def __init__(self, tls: TLSConfig) -> None:
        self._certificate, self._key = Path(tls.certificate_path), Path(tls.key_path)
        self._seen = self._look()
        self.first = self._read()

    def fetch(self) -> Any:
        """None: as before. Called in a thread of gRPC's."""
        try:
            now = self._look()
            if now == self._seen:
                return None
            configuration = self._read()
            if now != self._look():
                return None  # replaced while it was read: the next handshake reads it whole
        except OSError as error:
            log.error("The old certificate stays: the new files cannot be used (%s)", error)
            return None
        self._seen = now
        log.info("The TLS certificate was read again", extra={"path": str(self._certificate)})
        return configuration

    def _look(self) -> Fingerprint:
        states = [path.stat() for path in (self._certificate, self._key)]
        return tuple((state.st_ino, state.st_mtime_ns, state.st_size) for state in states)

    def _read(self) -> Any:
        # gRPC would take a pair that does not fit together, and fail every handshake.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._certificate, self._key, password="")
        return grpc.ssl_server_certificate_configuration([(self._key.read_bytes(), self._certificate.read_bytes())])
