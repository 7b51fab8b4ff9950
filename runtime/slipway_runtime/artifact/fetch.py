"""Fetch one artifact: from the cache, or from its store with retries and resumption, verified before it is placed."""

from __future__ import annotations

import logging
import os
import random
import re
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from slipway_runtime.artifact.cache import Cache, Partial, digest_file, digest_folder
from slipway_runtime.artifact.source import ArtifactError, InterruptionError, Opened, Source
from slipway_runtime.contract import ArtifactConfig, FailureReason, Format
from slipway_runtime.redact import redact_uri

_LOG_EVERY_SECONDS: Final = 10
_RETRY_AFTER_LIMIT_SECONDS: Final = 30
_PLAIN: Final = re.compile(r"[-._~+/=A-Za-z0-9]{1,256}")

log = logging.getLogger(__name__)

Progress = Callable[[int, int | None], None]
"""Called with the bytes received so far and, where known, the whole size."""


@dataclass(frozen=True)
class Fetched:
    path: Path
    digest: str
    size_bytes: int
    received_bytes: int
    """0 when nothing had to be transferred."""
    resolved_uri: str
    """Where it came from, and which version of it, as it may be shown."""


@dataclass(frozen=True)
class RetryPolicy:
    """Bounds that end every fetch: attempts in a row without a byte of progress, and attempts in all."""

    fruitless_attempts: int = 5
    attempts: int = 20
    first_pause_seconds: float = 0.5
    longest_pause_seconds: float = 8

    def pause_seconds(self, fruitless: int) -> float:
        """Doubles with each fruitless attempt; jittered, so that many pods do not come back at once."""
        pause = min(self.longest_pause_seconds, self.first_pause_seconds * 2.0 ** max(0, fruitless - 1))
        return pause * random.uniform(0.5, 1)  # noqa: S311 - no secret depends on it


def fetch_artifact(
    config: ArtifactConfig,
    cache_directory: Path,
    *,
    progress: Progress = lambda received, size: None,
    policy: RetryPolicy | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Fetched:
    """Raises `ArtifactError`. The digest is computed, not yet compared: see `check_digest`."""
    if urlsplit(config.uri).scheme == "file":
        return _open_local(config.uri, takes_folders=config.format is Format.PYTHON)
    cache = Cache(cache_directory)
    if config.digest:
        path = cache.find(config.digest)
        if path:
            log.info("The artifact is in the cache already", extra={"path": str(path)})
            return Fetched(path, config.digest, path.stat().st_size, 0, redact_uri(config.uri))
    source = open_source(config, environment)
    log.info("Fetching %s", redact_uri(config.uri))
    with closing(source), cache.begin() as partial:
        opened = _Download(source, partial, config.digest is not None, policy or RetryPolicy(), progress).run()
        check_digest(config.digest, partial.digest, redact_uri(config.uri))
        resolved = resolved_uri(opened.location or redact_uri(config.uri), opened.version, opened.etag)
        return Fetched(partial.place(), partial.digest, partial.size_bytes, partial.size_bytes, resolved)


def open_source(config: ArtifactConfig, environment: Mapping[str, str]) -> Source:
    if urlsplit(config.uri).scheme == "s3":
        from slipway_runtime.artifact.s3 import S3Source

        return S3Source(config.uri, config.stall_timeout_seconds, environment)
    from slipway_runtime.artifact.http import HttpSource

    return HttpSource(config.uri, config.stall_timeout_seconds, environment)


def resolved_uri(location: str, version: str | None, etag: str | None) -> str:
    """`location` with the version in a fragment, which no store is ever asked for. A version or etag with characters
    that have a meaning elsewhere is left out: the store chose it, and it is shown to others."""
    for name, value in (("versionId", version), ("etag", (etag or "").strip('"'))):
        if value and value != "null" and _PLAIN.fullmatch(value):
            return f"{location}#{name}={value}"
    return location


def check_digest(expected: str | None, actual: str, shown_uri: str) -> None:
    if expected is not None and actual != expected:
        raise ArtifactError(
            FailureReason.DIGEST_MISMATCH,
            f"{shown_uri} has the digest {actual}, expected {expected}. The file was changed, or the digest is of"
            " another file.",
        )


def _open_local(uri: str, *, takes_folders: bool) -> Fetched:
    """Used where it lies, without a copy."""
    path = Path(unquote(urlsplit(uri).path))
    try:
        if path.is_dir() and takes_folders:
            digest, size_bytes = digest_folder(path)
            return Fetched(path, digest, size_bytes, 0, path.resolve().as_uri())
        if path.is_dir():
            raise ArtifactError(
                FailureReason.ARTIFACT_NOT_FOUND,
                f"{uri} is a directory, expected a file. Only a Python handler (format: Python) may be a directory.",
            )
        return Fetched(path, digest_file(path), path.stat().st_size, 0, path.resolve().as_uri())
    except FileNotFoundError:
        raise ArtifactError(
            FailureReason.ARTIFACT_NOT_FOUND, f"{uri}: there is no such file. Check the path."
        ) from None
    except PermissionError:
        raise ArtifactError(
            FailureReason.ARTIFACT_FORBIDDEN, f"{uri} may not be read by the user that runs this process."
        ) from None
    except OSError as error:
        raise ArtifactError(FailureReason.ARTIFACT_UNREACHABLE, f"{uri} cannot be read: {error.strerror}.") from None


class _Download:
    """Attempts until the content is whole, or until another attempt would not help."""

    def __init__(
        self, source: Source, partial: Partial, verified: bool, policy: RetryPolicy, progress: Progress
    ) -> None:
        self._source = source
        self._partial = partial
        self._verified = verified
        self._policy = policy
        self._progress = progress
        self._etag: str | None = None
        self._logged_seconds = time.monotonic()

    def run(self) -> Opened:
        """What the last attempt was told of the content."""
        fruitless = 0
        for attempt in range(1, self._policy.attempts + 1):
            before = self._partial.size_bytes
            try:
                return self._attempt()
            except InterruptionError as interruption:
                fruitless = 1 if self._partial.size_bytes > before else fruitless + 1
                if fruitless >= self._policy.fruitless_attempts or attempt == self._policy.attempts:
                    raise ArtifactError(
                        interruption.reason, f"{interruption.message} Gave up after {attempt} attempts."
                    ) from None
                pause = max(
                    self._policy.pause_seconds(fruitless),
                    min(interruption.retry_after_seconds, _RETRY_AFTER_LIMIT_SECONDS),
                )
                log.warning("%s Trying again in %.1f s", interruption.message, pause)
                time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _attempt(self) -> Opened:
        partial = self._partial
        # Without an etag only a digest would notice that the rest comes from another file.
        resumable = partial.size_bytes and (self._etag or self._verified)
        opened = self._source.open(partial.size_bytes if resumable else 0, self._etag)
        try:
            if opened.offset != partial.size_bytes:
                partial.restart()
            self._etag = opened.etag
            if opened.size_bytes is not None:
                partial.reserve(opened.size_bytes)
            for chunk in opened.chunks:
                partial.write(chunk)
                self._report(opened.size_bytes)
        finally:
            opened.close()
        if opened.size_bytes is not None and partial.size_bytes != opened.size_bytes:
            raise InterruptionError(
                FailureReason.ARTIFACT_UNREACHABLE,
                f"The store ended after {partial.size_bytes} of {opened.size_bytes} bytes.",
            )
        return opened

    def _report(self, size_bytes: int | None) -> None:
        received = self._partial.size_bytes
        self._progress(received, size_bytes)
        now = time.monotonic()
        if now - self._logged_seconds >= _LOG_EVERY_SECONDS:
            self._logged_seconds = now
            whole = "?" if size_bytes is None else f"{size_bytes / 2**20:.0f}"
            log.info("Fetched %.0f of %s MiB", received / 2**20, whole)
