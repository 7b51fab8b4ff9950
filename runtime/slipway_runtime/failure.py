"""Why the runtime could not start, and where that is written for the kubelet to read."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

from slipway_runtime.contract import TERMINATION_MESSAGE_PATH, FailureReason, Stage, TerminationMessage

TERMINATION_PATH_VARIABLE: Final = "SLIPWAY_TERMINATION_MESSAGE_PATH"

log = logging.getLogger(__name__)


class StartupError(Exception):
    """The runtime ends without serving: the stage it had reached, the one-word reason and what to do."""

    def __init__(self, stage: Stage, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.stage = stage
        self.reason = reason
        self.message = message

    @property
    def exit_code(self) -> int:
        """2 for bad input, which no restart mends; 1 for everything else."""
        return 2 if self.stage is Stage.CONFIG else 1


def write_termination_message(
    error: StartupError, *, fetched_bytes: int | None = None, artifact_bytes: int | None = None
) -> None:
    """The bytes are told of an artifact that did not come whole."""
    path = _termination_path()
    if path is None:
        return
    message = TerminationMessage(
        stage=error.stage,
        reason=error.reason,
        message=error.message,
        fetched_bytes=fetched_bytes,
        artifact_bytes=artifact_bytes,
    )
    try:
        path.write_bytes(message.encode())
    except OSError as refused:
        log.warning("The termination message could not be written to %s: %s", path, refused.strerror)


def _termination_path() -> Path | None:
    """The kubelet makes its file before the container starts; outside a pod there is none, and none is made."""
    chosen = os.environ.get(TERMINATION_PATH_VARIABLE)
    if chosen:
        return Path(chosen)
    default = Path(TERMINATION_MESSAGE_PATH)
    return default if default.exists() else None
