"""Fetch an artifact for a server that is not this one: checked, complete or absent, under a name to be found by."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Final

from slipway_runtime.artifact.cache import digest_file
from slipway_runtime.artifact.fetch import Fetched, check_digest, fetch_artifact
from slipway_runtime.artifact.source import ArtifactError
from slipway_runtime.contract import ArtifactConfig, FailureReason, Stage, artifact_file_name
from slipway_runtime.failure import StartupError
from slipway_runtime.redact import redact_uri

_WORK_DIRECTORY: Final = ".slipway"
"""On the same volume, so that placing the file is a rename."""
_READABLE: Final = 0o644

log = logging.getLogger(__name__)


def deliver(artifact: ArtifactConfig, directory: Path) -> Path:
    """Raises `StartupError`. A file of the right digest that is there already stays as it is."""
    target = directory / artifact_file_name(artifact.uri)
    try:
        if artifact.digest is not None and target.is_file() and digest_file(target) == artifact.digest:
            log.info("The artifact is here already", extra={"path": str(target), "digest": artifact.digest})
            return target
        fetched = fetch_artifact(artifact, directory / _WORK_DIRECTORY)
        check_digest(artifact.digest, fetched.digest, redact_uri(artifact.uri))
        _place(fetched, target)
    except ArtifactError as error:
        stage = Stage.VERIFY if error.reason is FailureReason.DIGEST_MISMATCH else Stage.FETCH
        raise StartupError(stage, error.reason, error.message) from None
    except OSError as error:
        message = f"{directory} cannot be written: {error.strerror}. Name another folder with --fetch-to."
        raise StartupError(Stage.FETCH, FailureReason.INVALID_CONFIG, message) from None
    log.info("The artifact is here", extra={"path": str(target), "digest": fetched.digest, "bytes": fetched.size_bytes})
    return target


def _place(fetched: Fetched, target: Path) -> None:
    """What lay on this machine already is copied and stays where it is."""
    work = target.parent / _WORK_DIRECTORY
    source = fetched.path
    if not source.is_relative_to(work):
        work.mkdir(parents=True, exist_ok=True)
        source = shutil.copyfile(fetched.path, work / "copy.partial")
    source.chmod(_READABLE)
    source.replace(target)
