"""What the runtime was told: a JSON file, overridden by flags, checked before anything else happens."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import ValidationError

from slipway_runtime.contract import FailureReason, RuntimeConfig, Stage
from slipway_runtime.failure import StartupError
from slipway_runtime.http.auth import ApiKeys
from slipway_runtime.redact import redact_uri
from slipway_runtime.samplefile import read_samples

SCHEMES: Final = ("file", "http", "https", "s3")
DEFAULT_NAME: Final = "model"

_NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,251}[A-Za-z0-9])?")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


def read_config(path: Path | None, overrides: Mapping[str, Any]) -> RuntimeConfig:
    """`overrides` has the shape of the file; its values win and None is skipped."""
    content = _read_file(path) if path else {}
    artifact = content.get("artifact", {})
    chosen = {key: value for key, value in overrides.items() if value is not None and key != "artifact"}
    wanted = {key: value for key, value in overrides.get("artifact", {}).items() if value is not None}
    if isinstance(artifact, dict):
        content = {"name": DEFAULT_NAME, **content, **chosen, "artifact": {**artifact, **wanted}}
    where = str(path) if path else "flags"
    try:
        config = RuntimeConfig.model_validate(content)
    except ValidationError as invalid:
        raise _invalid(f"{where}: {_describe(invalid)}") from None
    _check(config)
    return _with_samples(config)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise _invalid(
            f"{path}: cannot be read: {error.strerror}. Pass the path of a JSON file to --config, or drop --config and"
            " pass --uri."
        ) from None
    except (ValueError, RecursionError) as error:
        raise _invalid(f"{path}: is not JSON: {error}.") from None
    if not isinstance(content, dict):
        raise _invalid(f'{path}: got a JSON {type(content).__name__}, expected an object with "name" and "artifact".')
    return content


def _describe(invalid: ValidationError) -> str:
    """One line for all faults; only paths, rules and short values are shown."""
    faults = []
    for fault in invalid.errors(include_url=False, include_context=False):
        path = ".".join(str(step) for step in fault["loc"]) or "the whole"
        if path == "artifact.uri" and fault["type"] == "missing":
            faults.append("artifact.uri: missing. Say where the artifact lies, with --uri or in the file")
            continue
        message = fault["msg"].removeprefix("Value error, ")
        value = fault["input"]
        got = "" if fault["type"] in {"missing", "extra_forbidden"} or isinstance(value, dict | list) else repr(value)
        faults.append(f"{path}: got {got[:80]}: {message}" if got else f"{path}: {message}")
    return "; ".join(faults) + "."


def _check(config: RuntimeConfig) -> None:
    if not _NAME.fullmatch(config.name):
        raise _invalid(
            f"name: got {config.name[:80]!r}, expected letters, digits and - _ . between them (it is part of URLs)."
        )
    digest = config.artifact.digest
    if digest is not None and not _DIGEST.fullmatch(digest):
        raise _invalid(
            f"artifact.digest: got {digest[:80]!r}, expected sha256: and 64 lower-case hexadecimal digits."
            " Print it with: sha256sum FILE"
        )
    _check_uri(config.artifact.uri)
    _check_keys(config)


def _with_samples(config: RuntimeConfig) -> RuntimeConfig:
    """Read once, so that every process of this start warms up with the same."""
    if config.warmup_samples_path is None:
        return config
    if config.warmup_samples:
        raise _invalid("warmupSamplesPath: is set beside warmupSamples, expected one of the two. Remove the other.")
    samples = read_samples(config.warmup_samples_path)
    return config.model_copy(update={"warmup_samples": samples, "warmup_samples_path": None})


def _check_keys(config: RuntimeConfig) -> None:
    """At the start only: later the file may be away for a moment while it is replaced."""
    if config.auth is not None and len(ApiKeys(Path(config.auth.api_keys_path))) == 0:
        raise _invalid(
            f"auth.apiKeysPath: {config.auth.api_keys_path} holds no key that can be read, so nobody could ask for a"
            " prediction. Write one key per line into it; in a cluster, put one into the Secret that"
            " spec.traffic.auth.apiKeysSecretRef names."
        )


def _check_uri(uri: str) -> None:
    shown = redact_uri(uri)
    forms = "Expected s3://BUCKET/KEY, https://HOST/PATH, http://HOST/PATH or file:///PATH."
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        raise _invalid(f"artifact.uri: {shown!r} cannot be read as a URI. {forms}") from None
    if parts.scheme not in SCHEMES:
        raise StartupError(
            Stage.CONFIG,
            FailureReason.UNSUPPORTED_SCHEME,
            f"artifact.uri: got {shown!r} with the scheme {parts.scheme!r}. {forms}",
        )
    if "@" in parts.netloc:
        raise _invalid(
            f"artifact.uri: {shown!r} was given with a user name or password. Pass them as the environment variables"
            " HTTP_USERNAME and HTTP_PASSWORD."
        )
    has_path = bool(parts.path.strip("/"))
    complete = {
        "file": parts.netloc in {"", "localhost"} and has_path,
        "s3": bool(parts.netloc) and has_path,
    }.get(parts.scheme, bool(parts.hostname))
    if not complete:
        raise _invalid(f"artifact.uri: got {shown!r}, which names no file. {forms}")


def _invalid(message: str) -> StartupError:
    return StartupError(Stage.CONFIG, FailureReason.INVALID_CONFIG, message)
