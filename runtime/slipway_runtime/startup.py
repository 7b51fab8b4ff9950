"""From the configuration to a model that runs: fetch, verify, choose where, load, warm up, each timed."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from slipway_runtime.artifact.fetch import Fetched, check_digest, fetch_artifact
from slipway_runtime.artifact.source import ArtifactError
from slipway_runtime.contract import CACHE_DIRECTORY, EngineKind, FailureReason, Format, RuntimeConfig, Stage
from slipway_runtime.engines.choice import EngineChoice, Situation, choose_engine, confirm, in_workers
from slipway_runtime.engines.counts import EngineState
from slipway_runtime.engines.engine import Engine, LoadedModel
from slipway_runtime.engines.inprocess import InProcessEngine
from slipway_runtime.engines.loading import load_and_profile
from slipway_runtime.engines.modelthread import ModelThread
from slipway_runtime.engines.situation import look_around
from slipway_runtime.engines.trial.hold import hold_trial, open_again
from slipway_runtime.engines.worker.engine import WorkerEngine
from slipway_runtime.failure import StartupError
from slipway_runtime.lifecycle import Lifecycle
from slipway_runtime.metrics import Metrics
from slipway_runtime.models.loader import choose_loader
from slipway_runtime.redact import redact_uri

CACHE_VARIABLE: Final = "SLIPWAY_CACHE_DIR"

_STAGE_LABELS: Final = {Stage.FETCH: "fetch", Stage.VERIFY: "verify", Stage.LOAD: "load", Stage.WARM_UP: "warm_up"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Started:
    engine: Engine
    facts: LoadedModel


class Stages:
    """Tells how far the start has come, and how long each stage took. Any thread may enter one."""

    def __init__(self, lifecycle: Lifecycle, metrics: Metrics) -> None:
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._stage: Stage | None = None
        self._begun = 0.0

    def enter(self, stage: Stage) -> None:
        """The one before is over. Entering a stage again, as a trial elsewhere does, counts from anew."""
        self.finish()
        self._lifecycle.enter(stage)
        self._stage, self._begun = stage, time.monotonic()

    def finish(self) -> None:
        if self._stage is None:
            return
        seconds = time.monotonic() - self._begun
        self._metrics.load_seconds.labels(_STAGE_LABELS[self._stage]).set(seconds)
        log.info("%s took %.2f s", self._stage, seconds)
        self._stage = None


async def start_model(config: RuntimeConfig, lifecycle: Lifecycle, metrics: Metrics) -> Started:
    """Raises `StartupError`."""
    stages = Stages(lifecycle, metrics)
    thread = ModelThread()
    stages.enter(Stage.FETCH)
    fetched = await thread.call(lambda: _fetch(config, lifecycle, metrics))
    stages.enter(Stage.VERIFY)
    await thread.call(lambda: _verify(config, fetched))
    lifecycle.digest, lifecycle.resolved_uri = fetched.digest, fetched.resolved_uri
    lifecycle.fetched_bytes = lifecycle.artifact_bytes = fetched.size_bytes
    situation = await thread.call(lambda: look_around(fetched.path, config.artifact.format))
    loader = choose_loader(situation.format, config.artifact.format)
    if loader is not None:
        log.info(loader.describe(), extra={"loader": loader.loader, "format": str(situation.format)})
    choice = choose_engine(config.engine, situation)
    engine, facts, choice = await _open(fetched.path, config, situation, choice, thread, stages.enter)
    stages.finish()
    log.info(choice.describe())
    lifecycle.format, lifecycle.device = facts.format, facts.device
    lifecycle.loader = loader.loader if loader is not None else None
    look = engine.look if isinstance(engine, WorkerEngine) else EngineState.of_gateway
    metrics.engine_counts.watch(choice, facts.device, look)
    metrics.model_info.labels(config.name, facts.format, fetched.digest, facts.device).set(1)
    return Started(engine, replace(facts, properties={**facts.properties, **choice.properties}))


async def _open(
    path: Path,
    config: RuntimeConfig,
    situation: Situation,
    choice: EngineChoice,
    thread: ModelThread,
    enter: Callable[[Stage], None],
) -> tuple[Engine, LoadedModel, EngineChoice]:
    if choice.kind is EngineKind.IN_PROCESS:
        # Read by the libraries that run models when they are imported, which nobody has done yet.
        os.environ.update(choice.variables(0))
        if situation.format is Format.PYTHON or situation.gpus:
            loaded = await thread.call(lambda: load_and_profile(path, config, enter))
            return InProcessEngine(loaded, thread), loaded.facts, choice
        trial = await thread.call(lambda: hold_trial(path, config, choice, enter))
        if trial is None:
            choice = in_workers(config.engine, situation, "a first load ended its process.")
        else:
            choice = confirm(choice, config.engine, situation, trial.facts)
        if trial is not None and choice.kind is EngineKind.IN_PROCESS:
            loaded = await thread.call(lambda: open_again(trial, path, config, choice.threads))
            return InProcessEngine(loaded, thread), loaded.facts, choice
        log.info("The model is loaded again in a worker: %s", choice.reason)
    engine, facts = await WorkerEngine.open(path, config, choice, enter)
    return engine, facts, choice


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
        extra={
            "digest": fetched.digest,
            "bytes": fetched.size_bytes,
            "received_bytes": fetched.received_bytes,
            "resolved_uri": fetched.resolved_uri,
        },
    )
