"""API keys from a mounted file or folder, compared in constant time, rotated without a restart."""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

_CHECK_SECONDS: Final = 1.0
"""How long a changed file may stay unnoticed."""
_LIMIT_BYTES: Final = 1024 * 1024
_BEARER: Final = b"bearer "

Fingerprint = tuple[tuple[str, int, int, int], ...]
"""Of every file: name, inode, time of change, size."""

log = logging.getLogger(__name__)


class ApiKeys:
    """Who may ask. Without a readable key nobody gets in, and the log says why. Keys are kept as digests only.

    A folder is read as Kubernetes mounts a Secret: every file whose name begins with no dot, whatever it links to.
    Not thread-safe: each thread has its own.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._now = now
        self._secret = secrets.token_bytes(32)
        self._digests: frozenset[bytes] = frozenset()
        self._fingerprint: Fingerprint | None = None
        self._trouble = ""
        self._check_at = now()
        self._refresh()

    def __len__(self) -> int:
        return len(self._digests)

    def allows(self, presented: bytes) -> bool:
        """The time that this takes does not depend on how much of a key was guessed right."""
        if self._now() >= self._check_at:
            self._refresh()
        digest = self._digest(presented)
        found = False
        for known in self._digests:
            found |= hmac.compare_digest(digest, known)
        return found and bool(presented)

    def _digest(self, key: bytes) -> bytes:
        return hmac.digest(self._secret, key, "sha256")

    def _refresh(self) -> None:
        self._check_at = self._now() + _CHECK_SECONDS
        try:
            before = self._look()
            if before == self._fingerprint:
                return
            keys = self._read()
            if before != self._look():
                return  # replaced while it was read: the next check reads it whole
        except (OSError, ValueError) as error:
            self._close(f"cannot be read: {error.strerror if isinstance(error, OSError) else error}")
            return
        if not keys:
            self._close("holds no key")
            return
        self._trouble, self._fingerprint = "", before
        self._digests = frozenset(map(self._digest, keys))
        log.info("%d API keys are known", len(self._digests), extra={"path": str(self._path)})

    def _close(self, trouble: str) -> None:
        self._digests, self._fingerprint = frozenset(), None
        if trouble != self._trouble:
            log.error("Nobody gets in: %s %s. Write one key per line.", self._path, trouble)
        self._trouble = trouble

    def _files(self) -> list[Path]:
        if not self._path.is_dir():
            return [self._path]
        return sorted(path for path in self._path.iterdir() if not path.name.startswith(".") and path.is_file())

    def _look(self) -> Fingerprint:
        states = [(path.name, path.stat()) for path in self._files()]
        return tuple((name, state.st_ino, state.st_mtime_ns, state.st_size) for name, state in states)

    def _read(self) -> set[bytes]:
        keys: set[bytes] = set()
        for path in self._files():
            with path.open("rb") as file:
                content = file.read(_LIMIT_BYTES + 1)
            if len(content) > _LIMIT_BYTES:
                raise ValueError(f"{path.name} is larger than {_LIMIT_BYTES} bytes")
            keys.update(line.strip() for line in content.splitlines())
        keys.discard(b"")
        return keys


def presented_key(headers: Mapping[bytes, bytes]) -> bytes:
    """From `Authorization: Bearer KEY`, else `X-API-Key: KEY`; empty when neither is there."""
    authorization = headers.get(b"authorization", b"")
    if authorization[: len(_BEARER)].lower() == _BEARER:
        return authorization[len(_BEARER) :].strip()
    return headers.get(b"x-api-key", b"")
