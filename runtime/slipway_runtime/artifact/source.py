"""What a store must offer to be fetched from, and the two ways in which fetching fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from slipway_runtime.contract import FailureReason

CHUNK_BYTES = 256 * 1024


class ArtifactError(Exception):
    """Final: trying again would not help."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class InterruptionError(Exception):
    """Worth another attempt; `reason` is the verdict when no attempt is left."""

    def __init__(self, reason: FailureReason, message: str, retry_after_seconds: float = 0) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True)
class Opened:
    """The content from `offset` on."""

    chunks: Iterator[bytes]
    offset: int
    """0 when the store did not take the wish to resume."""
    size_bytes: int | None
    """Of the whole content; None when the store does not say."""
    etag: str | None
    """Names this very content, so that a resumed download cannot mix two; None when the store gives none."""
    close: Callable[[], None]
    location: str | None = None
    """Where redirects led, as it may be shown; None where the URI that was asked for answered."""
    version: str | None = None
    """The store's own name of this version, by which it can be asked for again; None when it keeps none."""


class Source(Protocol):
    """One artifact in one store. Methods and the iterator raise `ArtifactError` or `InterruptionError`."""

    @property
    def scheme(self) -> str: ...

    def open(self, offset: int, etag: str | None) -> Opened:
        """`offset` > 0 only with the etag of the earlier attempt, or with None when a digest will tell."""

    def close(self) -> None: ...
