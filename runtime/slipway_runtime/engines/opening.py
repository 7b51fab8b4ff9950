"""From a verified artifact to an engine that runs it: the choice, its log line, and the one start that follows."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from slipway_runtime.contract import EngineKind, RuntimeConfig, Stage
from slipway_runtime.engines.choice import EngineChoice, choose_engine, confirm
from slipway_runtime.engines.engine import Engine, LoadedModel
from slipway_runtime.engines.modelthread import ModelThread
from slipway_runtime.engines.situation import look_around
from slipway_runtime.engines.worker.engine import WorkerEngine

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Opened:
    engine: Engine
    facts: LoadedModel
    """Their `properties` tell the choice as well."""
    choice: EngineChoice


async def open_engine(path: Path, config: RuntimeConfig, enter: Callable[[Stage], None]) -> Opened:
    """To be awaited in the loop that will use the engine, in a thread that lives as long as the process. `enter` is
    called as a stage begins, in any thread. Raises `StartupError`."""
    situation = look_around(path, config.artifact.format)
    choice = choose_engine(config.engine, situation)
    if choice.kind is EngineKind.IN_PROCESS:
        opened, choice = await _open_in_process(
            path, config, enter, choice, lambda facts: confirm(choice, config.engine, situation, facts)
        )
        if opened is not None:
            return _told(*opened, choice)
    return _told(*await WorkerEngine.open(path, config, choice, enter), choice)


async def _open_in_process(
    path: Path,
    config: RuntimeConfig,
    enter: Callable[[Stage], None],
    choice: EngineChoice,
    settle: Callable[[LoadedModel], EngineChoice],
) -> tuple[tuple[Engine, LoadedModel] | None, EngineChoice]:
    """None where the model turned out not to belong here."""
    # Imported here because these reach for torch, which a gateway with workers does without.
    from slipway_runtime.engines.inprocess import InProcessEngine
    from slipway_runtime.engines.loading import load_and_profile

    os.environ.update(choice.variables(0))
    thread = ModelThread()
    loaded = await thread.call(lambda: load_and_profile(path, config, enter))
    settled = settle(loaded.facts)
    if settled.kind is EngineKind.IN_PROCESS:
        return (InProcessEngine(loaded, thread), loaded.facts), settled
    await thread.call(loaded.model.close)
    return None, settled


def _told(engine: Engine, facts: LoadedModel, choice: EngineChoice) -> Opened:
    log.info("%s", choice.describe(), extra=dict(choice.properties))
    return Opened(engine, replace(facts, properties={**facts.properties, **choice.properties}), choice)
