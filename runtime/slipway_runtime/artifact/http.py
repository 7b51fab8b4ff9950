"""Artifacts behind http and https: ranges, redirects within http(s), credentials for the URI's own origin only."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3 import exceptions as broken

from slipway_runtime.artifact.source import CHUNK_BYTES, ArtifactError, InterruptionError, Opened
from slipway_runtime.contract import FailureReason
from slipway_runtime.redact import redact_uri

CONNECT_SECONDS: Final = 10
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_REDIRECT_LIMIT: Final = 5
_RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class HttpSource:
    """`environment` may hold HTTP_BEARER_TOKEN, or HTTP_USERNAME and HTTP_PASSWORD."""

    def __init__(self, uri: str, stall_seconds: float, environment: Mapping[str, str]) -> None:
        self._uri = uri
        self._stall_seconds = stall_seconds
        self._authorization = _authorization(environment)
        self._pool = urllib3.PoolManager(
            retries=False, timeout=urllib3.Timeout(connect=min(CONNECT_SECONDS, stall_seconds), read=stall_seconds)
        )

    @property
    def scheme(self) -> str:
        return urlsplit(self._uri).scheme

    def open(self, offset: int, etag: str | None) -> Opened:
        headers = {"Accept-Encoding": "identity", "User-Agent": "slipway-runtime"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if etag:
                headers["If-Range"] = etag
        uri = self._uri
        for _ in range(_REDIRECT_LIMIT + 1):
            response = self._request(uri, headers)
            if response.status not in _REDIRECTS:
                return self._accept(response, uri, offset)
            location = response.headers.get("Location", "")
            response.close()
            uri = _follow(uri, location)
        raise ArtifactError(
            FailureReason.ARTIFACT_UNREACHABLE,
            f"{redact_uri(self._uri)} redirects more than {_REDIRECT_LIMIT} times. Name the final URI.",
        )

    def close(self) -> None:
        self._pool.clear()

    def _request(self, uri: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        sent = dict(headers)
        if self._authorization and _origin(uri) == _origin(self._uri):
            sent["Authorization"] = self._authorization
        try:
            return self._pool.request("GET", uri, headers=sent, redirect=False, preload_content=False)
        except (broken.HTTPError, OSError, ValueError) as error:
            raise self._translate(error, uri) from None

    def _accept(self, response: urllib3.BaseHTTPResponse, uri: str, offset: int) -> Opened:
        if response.status not in (200, 206):
            refusal = self._refuse(response, uri)
            response.close()
            raise refusal
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        if encoding not in ("", "identity"):
            response.close()
            raise ArtifactError(
                FailureReason.ARTIFACT_UNREACHABLE,
                f"{redact_uri(uri)} sends the file with Content-Encoding {encoding[:40]!r} although none was accepted."
                " Let the server send the file as it is.",
            )
        begins, size = _position(response)
        if begins not in (0, offset):
            response.close()
            raise InterruptionError(
                FailureReason.ARTIFACT_UNREACHABLE, f"{redact_uri(uri)} answered with another range than asked for."
            )
        etag = response.headers.get("ETag", "")
        strong = etag if etag.startswith('"') else None
        led = redact_uri(uri) if uri != self._uri else None
        return Opened(self._chunks(response, uri), begins, size, strong, response.close, location=led)

    def _chunks(self, response: urllib3.BaseHTTPResponse, uri: str) -> Iterator[bytes]:
        try:
            yield from response.stream(CHUNK_BYTES, decode_content=False)
        except (broken.HTTPError, OSError) as error:
            raise self._translate(error, uri) from None

    def _refuse(self, response: urllib3.BaseHTTPResponse, uri: str) -> Exception:
        status, shown = response.status, redact_uri(uri)
        given = "with the credentials given" if self._authorization else "and no credentials were given"
        ways = "HTTP_BEARER_TOKEN, or HTTP_USERNAME and HTTP_PASSWORD"
        final = {
            401: (FailureReason.ARTIFACT_UNAUTHENTICATED, f"{shown} answered 401, {given}. Credentials are {ways}."),
            403: (FailureReason.ARTIFACT_FORBIDDEN, f"{shown} answered 403, {given}. Credentials are {ways}."),
            404: (FailureReason.ARTIFACT_NOT_FOUND, f"{shown} answered 404: there is no such file. Check the URI."),
            410: (FailureReason.ARTIFACT_NOT_FOUND, f"{shown} answered 410: the file is gone. Check the URI."),
        }.get(status)
        if final:
            return ArtifactError(*final)
        message = f"{shown} answered {status}"
        if status == 416:
            return InterruptionError(FailureReason.ARTIFACT_UNREACHABLE, f"{message} to the wish to resume.")
        if status in _RETRIED:
            return InterruptionError(
                FailureReason.ARTIFACT_UNREACHABLE, f"{message}.", _retry_after(response.headers.get("Retry-After", ""))
            )
        return ArtifactError(FailureReason.ARTIFACT_UNREACHABLE, f"{message}, expected 200. Check the URI.")

    def _translate(self, error: Exception, uri: str) -> Exception:
        shown, unreachable = redact_uri(uri), FailureReason.ARTIFACT_UNREACHABLE
        host = urlsplit(uri).hostname
        if isinstance(error, broken.ConnectTimeoutError | broken.NewConnectionError):
            return InterruptionError(unreachable, f"{_describe_connection(error, host)} ({shown}).")
        if isinstance(error, broken.ReadTimeoutError | TimeoutError):
            return ArtifactError(
                FailureReason.ARTIFACT_STALLED,
                f"{shown} sent nothing for {self._stall_seconds:g} seconds (spec.artifact.stallTimeoutSeconds).",
            )
        if isinstance(error, broken.SSLError):
            return ArtifactError(
                unreachable, f"The TLS connection to {host} failed ({shown}): {str(error.args[0])[:300]}."
            )
        if isinstance(error, broken.LocationValueError | ValueError):
            return ArtifactError(unreachable, f"{shown} is not a URI that can be asked for.")
        return InterruptionError(unreachable, f"The connection to {host} broke ({shown}).")


def _describe_connection(error: broken.HTTPError, host: str | None) -> str:
    if isinstance(error, broken.NameResolutionError):
        return f"The name {host} does not resolve"
    if isinstance(error, broken.ConnectTimeoutError) and not isinstance(error, broken.NewConnectionError):
        return f"{host} did not accept a connection in time"
    cause = error.__cause__
    detail = cause.strerror if isinstance(cause, OSError) and cause.strerror else "no connection"
    return f"{host} cannot be connected to: {detail}"


def _authorization(environment: Mapping[str, str]) -> str | None:
    token = environment.get("HTTP_BEARER_TOKEN")
    if token:
        return f"Bearer {token.strip()}"
    user, password = environment.get("HTTP_USERNAME"), environment.get("HTTP_PASSWORD", "")
    if user:
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    return None


def _origin(uri: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(uri)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _follow(uri: str, location: str) -> str:
    target = urljoin(uri, location)
    before, after = urlsplit(uri).scheme, urlsplit(target).scheme
    allowed = ("https",) if before == "https" else ("http", "https")
    if not location or after not in allowed or not urlsplit(target).hostname:
        shown = redact_uri(target) if location else "nowhere"
        raise ArtifactError(
            FailureReason.ARTIFACT_UNREACHABLE,
            f"{redact_uri(uri)} redirects to {shown}, which is not followed: expected {' or '.join(allowed)}.",
        )
    return target


def _position(response: urllib3.BaseHTTPResponse) -> tuple[int, int | None]:
    """Where the body begins, and how long the whole file is."""
    if response.status == 206:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match:
            return int(match[1]), None if match[2] == "*" else int(match[2])
        return -1, None
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _retry_after(value: str) -> float:
    """Seconds; the form with a date is rare for stores and is left to the usual pause."""
    return float(value) if value.isdigit() else 0
