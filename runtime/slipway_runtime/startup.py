"""From the configuration to a warm model: fetch, verify, load, warm up, each timed. Runs in the model thread."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slipway_runtime.artifact.fetch import Fetched, check_digest, fetch_artifact
from slipway_runtime.artifact.source import ArtifactError
from slipway_runtime.contract import CACHE_DIRECTORY, FailureReason, RuntimeConfig, Stage
from slipway_runtime.failure import StartupError
from slipway_runtime.lifecycle import Lifecycle
from slipway_runtime.metrics import Metrics
from slipway_runtime.models.load import load_model, warm_up_model
from slipway_runtime.models.model import Model
from slipway_runtime.models.signature import Signature
from slipway_runtime.redact import redact_uri

CACHE_VARIABLE: Final = "SLIPWAY_CACHE_DIR"

_STAGE_LABELS: Final = {Stage.FETCH: "fetch", Stage.VERIFY: "verify", Stage.LOAD: "load", Stage.WARM_UP: "warm_up"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Started:
    model: Model
    signature: Signature
    digest: str


def start_model(config: RuntimeConfig, lifecycle: Lifecycle, metrics: Metrics) -> Started:
    """Raises `StartupError`."""
    with _stage(Stage.FETCH, lifecycle, metrics):
        fetched = _fetch(config, lifecycle, metrics)
    with _stage(Stage.VERIFY, lifecycle, metrics):
        _verify(config, fetched)
    with _stage(Stage.LOAD, lifecycle, metrics):
        model = load_model(fetched.path, config.artifact.format, config.warmup_samples)
    with _stage(Stage.WARM_UP, lifecycle, metrics):
        signature = warm_up_model(model, config.warmup_samples)
    metrics.model_info.labels(config.name, model.format, fetched.digest, model.device).set(1)
    return Started(model, signature, fetched.digest)


def _fetch(config: RuntimeConfig, lifecycle: Lifecycle, metrics: Metrics) -> Fetched:
    scheme = config.artifact.uri.partition(":")[0]
    received_bytes = metrics.artifact_bytes.labels(scheme)

    def report(fetched_bytes: int, size_bytes: int | None) -> None:
        received_bytes.inc(max(0, fetched_bytes - lifecycle.fetched_bytes))
        lifecycle.fetched_bytes = fetched_bytes
        lifecycle.artifact_bytes = size_bytes

    directory = Path(os.environ.get(CACHE_VARIABLE) or CACHE_DIRECTORY)
    try:
        return fetch_artifact(config.artifact, directory, progress=report)
    except ArtifactError as error:
        stage = Stage.VERIFY if error.reason is FailureReason.DIGEST_MISMATCH else Stage.FETCH
        raise StartupError(stage, error.reason, error.message) from None


def _verify(config: RuntimeConfig, fetched: Fetched) -> None:
    try:
        check_digest(config.artifact.digest, fetched.digest, redact_uri(config.artifact.uri))
    except ArtifactError as error:
        raise StartupError(Stage.VERIFY, error.reason, error.message) from None
    log.info(
        "The artifact is here",
        extra={"digest": fetched.digest, "bytes": fetched.size_bytes, "received_bytes": fetched.received_bytes},
    )


@contextmanager
def _stage(stage: Stage, lifecycle: Lifecycle, metrics: Metrics) -> Iterator[None]:
    lifecycle.enter(stage)
    begun = time.monotonic()
    yield
    seconds = time.monotonic() - begun
    metrics.load_seconds.labels(_STAGE_LABELS[stage]).set(seconds)
    log.info("%s took %.2f s", stage, seconds)
