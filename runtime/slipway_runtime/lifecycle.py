"""How far the process has come: what probes, metrics and the inference port ask.

Written by the main thread and the model thread, read by the admin thread; every attribute is replaced whole, so a
reader sees the old value or the new one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum

from slipway_runtime.contract import REVISION_VARIABLE, Format, RuntimeStatus, Stage


class Phase(StrEnum):
    STARTING = "Starting"
    READY = "Ready"
    DRAINING = "Draining"


class Lifecycle:
    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self.revision = environment.get(REVISION_VARIABLE, "")
        """Of the pod this runs in; empty outside one."""
        self.phase = Phase.STARTING
        self.started = False
        """True from the first readiness on, and for good: a draining runtime has started as well."""
        self.stage = Stage.CONFIG
        self.fetched_bytes = 0
        self.artifact_bytes: int | None = None
        """None until the store has told the size."""
        self.digest: str | None = None
        self.resolved_uri: str | None = None
        """This and the digest once the artifact is here and verified."""
        self.format: Format | None = None
        self.loader: str | None = None
        self.device: str | None = None
        """This, the format and the loader once the model is loaded."""
        self.lost: str | None = None
        """Why nothing can be predicted any more, and is not expected to come back by itself."""

    def enter(self, stage: Stage) -> None:
        self.stage = stage

    def become_ready(self) -> None:
        if self.phase is Phase.STARTING:
            self.phase = Phase.READY
            self.started = True
            self.stage = Stage.SERVE

    def drain(self) -> None:
        self.phase = Phase.DRAINING

    @property
    def ready(self) -> bool:
        return self.phase is Phase.READY and self.lost is None

    @property
    def draining(self) -> bool:
        return self.phase is Phase.DRAINING

    def status(self) -> RuntimeStatus:
        return RuntimeStatus(
            revision=self.revision,
            stage=self.stage,
            fetched_bytes=self.fetched_bytes,
            artifact_bytes=self.artifact_bytes,
            digest=self.digest,
            resolved_uri=self.resolved_uri,
            format=self.format,
            loader=self.loader,
            device=self.device,
        )

    def describe_progress(self) -> str:
        """For a person who looks at a probe's answer, for example `Fetch, 12 of 345 MiB`."""
        if self.stage is not Stage.FETCH or not self.fetched_bytes:
            return str(self.stage)
        fetched = f"{self.fetched_bytes / 2**20:.0f}"
        if self.artifact_bytes is None:
            return f"{self.stage}, {fetched} MiB"
        return f"{self.stage}, {fetched} of {self.artifact_bytes / 2**20:.0f} MiB"
