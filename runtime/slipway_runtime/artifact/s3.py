"""Artifacts in S3 and in stores that speak its protocol, through obstore.

Credentials come from the environment (AWS_ACCESS_KEY_ID and its kin, or a web identity or container endpoint that the
platform sets). Without any the request is made unsigned, which public buckets answer; the node's own instance role is
not borrowed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import urlsplit

import obstore
from obstore import exceptions as refused
from obstore.store import S3Store

from slipway_runtime.artifact.source import CHUNK_BYTES, ArtifactError, InterruptionError, Opened
from slipway_runtime.contract import FailureReason

if TYPE_CHECKING:
    from obstore import GetOptions

T = TypeVar("T")

_CONNECT_SECONDS: Final = 10
_STATIC: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_PLATFORM: Final = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_CODE: Final = re.compile(r"<Code>([A-Za-z]{1,60})</Code>")
_STATUS: Final = re.compile(r"status(?: code)?: (\d{3})")
_ASKED: Final = re.compile(r"https?://(?:[^/\s@]*@)?[^/\s]+")
_SYSTEMS_WORDS: Final = re.compile(r'(?:message|error): "([^"\n]{1,200})"')
"""What the resolver or the kernel said, in the description of causes that obstore adds to its message."""
_PREAMBLE: Final = re.compile(r"^Generic S3 error: (?:Error performing \w+ in \S+ - )?")
_KEY_REFUSED: Final = frozenset(
    {
        "AccessDenied",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "XAdminUserNotFound",
    }
)
"""S3's codes for keys, whatever the status beside them: stores answer 400, 403 and 404 with them."""


class S3Source:
    scheme = "s3"

    def __init__(self, uri: str, stall_seconds: float, environment: Mapping[str, str]) -> None:
        parts = urlsplit(uri)
        self._shown = f"s3://{parts.netloc}{parts.path}"
        self._key = uri.partition("://")[2].partition("/")[2]
        self._stall_seconds = stall_seconds
        self._signed = _has_credentials(environment)
        self._amazons = _endpoint(environment) is None
        self._runner = asyncio.Runner()
        self._store = _open_store(parts.netloc, environment, self._signed, stall_seconds)

    def open(self, offset: int, etag: str | None) -> Opened:
        options: dict[str, Any] = {}
        if offset:
            options["range"] = {"offset": offset}
            if etag:
                options["if_match"] = etag
        try:
            result = self._run(lambda: obstore.get_async(self._store, self._key, options=cast("GetOptions", options)))
        except refused.PreconditionError:
            # The object was replaced since the first attempt: begin again with the new one.
            return self.open(0, None)
        stream = result.stream(min_chunk_size=CHUNK_BYTES)
        begins = int(result.range[0])
        meta = result.meta
        etag, version = meta.get("e_tag"), meta.get("version")
        return Opened(self._chunks(stream), begins, int(meta["size"]), etag, lambda: None, version=version)

    def close(self) -> None:
        self._runner.close()

    def _chunks(self, stream: Any) -> Iterator[bytes]:
        iterator = aiter(stream)
        end = object()
        while True:
            chunk = self._run(lambda: _next_or(iterator, end))
            if chunk is end:
                return
            yield bytes(chunk)

    def _run(self, begin: Callable[[], Awaitable[T]]) -> T:
        """`begin` is called inside the loop, where obstore looks for it."""

        async def bounded() -> T:
            async with asyncio.timeout(self._stall_seconds):
                return await begin()

        try:
            return self._runner.run(bounded())
        except TimeoutError:
            raise ArtifactError(
                FailureReason.ARTIFACT_STALLED,
                f"{self._shown} sent nothing for {self._stall_seconds:g} seconds (spec.artifact.stallTimeoutSeconds).",
            ) from None
        except refused.PreconditionError:
            raise
        except (FileNotFoundError, refused.BaseError, OSError, ValueError) as error:
            raise self._translate(error) from None

    def _translate(self, error: Exception) -> Exception:
        text = str(error)
        match = _CODE.search(text)
        code = match[1] if match else ""
        said = f" ({code})" if code else ""
        if code in _KEY_REFUSED:
            return self._refusal(said)
        if isinstance(error, FileNotFoundError) or code in ("NoSuchKey", "NoSuchBucket"):
            what = "bucket" if code == "NoSuchBucket" else "object"
            return ArtifactError(
                FailureReason.ARTIFACT_NOT_FOUND, f"{self._shown}: there is no such {what}{said}. Check the URI."
            )
        status = _status(text)
        if isinstance(error, refused.PermissionDeniedError | refused.UnauthenticatedError) or status in (401, 403):
            return self._refusal(said)
        if status is not None and 400 <= status < 500 and status not in (408, 429):
            return ArtifactError(
                FailureReason.ARTIFACT_UNREACHABLE,
                f"{self._shown}: the store answered {status}{said}. Check AWS_ENDPOINT_URL and AWS_REGION.",
            )
        answered = f"the store answered {status}{said}." if status else self._unreachable(text)
        return InterruptionError(FailureReason.ARTIFACT_UNREACHABLE, f"{self._shown}: {answered}")

    def _unreachable(self, text: str) -> str:
        """The same words for the same cause: obstore's own hold the time that it took."""
        asked = _ASKED.search(text)
        where = re.sub(r"//.*@", "//", asked[0]) if asked else "the store"
        said = f"{where} cannot be reached: {_essence(text)}."
        if not self._amazons:
            return said
        return (
            f"{said} AWS_ENDPOINT_URL is not set, so Amazon's store was asked. For another one set it, in a pod by the"
            " Secret of spec.artifact.credentials."
        )

    def _refusal(self, said: str) -> ArtifactError:
        if self._signed:
            return ArtifactError(
                FailureReason.ARTIFACT_FORBIDDEN,
                f"{self._shown}: the store refused the credentials it was given{said}. Check the keys and what they may"
                " read.",
            )
        return ArtifactError(
            FailureReason.CREDENTIALS_MISSING,
            f"{self._shown}: the store does not answer without credentials{said}. Put AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY into a Secret and name it in spec.artifact.credentials.secretRef.name.",
        )


async def _next_or(iterator: Any, end: object) -> Any:
    return await anext(iterator, end)


def _has_credentials(environment: Mapping[str, str]) -> bool:
    return all(environment.get(name) for name in _STATIC) or any(environment.get(name) for name in _PLATFORM)


def _endpoint(environment: Mapping[str, str]) -> str | None:
    return environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL") or None


def _open_store(bucket: str, environment: Mapping[str, str], signed: bool, stall_seconds: float) -> S3Store:
    endpoint = _endpoint(environment)
    config: dict[str, Any] = {
        "region": environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or "us-east-1",
        "skip_signature": not signed,
    }
    # Given outright, so that the store sees what `environment` says and nothing else.
    given = {
        "access_key_id": environment.get("AWS_ACCESS_KEY_ID"),
        "secret_access_key": environment.get("AWS_SECRET_ACCESS_KEY"),
        "session_token": environment.get("AWS_SESSION_TOKEN"),
    }
    config |= {name: value for name, value in given.items() if value and signed}
    if endpoint:
        config["endpoint"] = endpoint.rstrip("/")
    options: dict[str, Any] = {
        "allow_http": bool(endpoint and endpoint.startswith("http://")),
        "connect_timeout": timedelta(seconds=min(_CONNECT_SECONDS, stall_seconds)),
        # The whole download may take long; the time without any byte is watched above.
        "timeout": timedelta(days=7),
        "user_agent": "slipway-runtime",
    }
    bundle = environment.get("AWS_CA_BUNDLE") or environment.get("SSL_CERT_FILE")
    if bundle and Path(bundle).is_file():
        options["root_certificate"] = Path(bundle).read_bytes()
    try:
        # Retries are made by `fetch`, which knows how far the download had come.
        return S3Store(bucket, config=config, client_options=options, retry_config={"max_retries": 0})  # type: ignore[arg-type]
    except (refused.BaseError, ValueError) as error:
        raise ArtifactError(
            FailureReason.INVALID_CONFIG,
            f"s3://{bucket}: the environment's settings are not usable: {_essence(str(error))}.",
        ) from None


def _status(text: str) -> int | None:
    match = _STATUS.search(text)
    return int(match[1]) if match else None


def _essence(text: str) -> str:
    """What the system said; else what reqwest says last in its chain of causes, without the URL it had asked."""
    if words := _SYSTEMS_WORDS.findall(text):
        return str(words[-1]).rpartition(": ")[2].rstrip(". ")
    line = text.strip().splitlines()[0] if text.strip() else "no answer"
    line = re.sub(r"\s*\(?(for url \()?https?://\S+", "", line)
    return _PREAMBLE.sub("", line)[-200:].rstrip(". ")
