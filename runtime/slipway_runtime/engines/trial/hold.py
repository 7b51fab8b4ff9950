"""The gateway's side of a trial: start it, follow it, and use what it found without the libraries that it took."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from slipway_runtime import children
from slipway_runtime.contract import FailureReason, RuntimeConfig, Stage
from slipway_runtime.engines.choice import EngineChoice
from slipway_runtime.engines.engine import LoadedModel
from slipway_runtime.engines.loading import Loaded
from slipway_runtime.engines.worker.facts import decode_model
from slipway_runtime.failure import StartupError
from slipway_runtime.logs import current_format
from slipway_runtime.models.load import load_model, warm_up_model

GRAPH: Final = "graph.onnx"
_MODULE: Final = "slipway_runtime.engines.trial"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trial:
    facts: LoadedModel
    graph: bytes | None
    """Of the model in ONNX Runtime, where that was the fastest way to run it."""


def hold_trial(path: Path, config: RuntimeConfig, choice: EngineChoice, enter: Callable[[Stage], None]) -> Trial | None:
    """None when the process ended without a word. Raises `StartupError`.

    To be called in a thread that lives as long as the gateway: the kernel ends the process with the thread.
    """
    with tempfile.TemporaryDirectory(prefix="slipway-trial-") as folder:
        found = _run(path, config, choice, Path(folder), enter)
        if found is None:
            return None
        graph = Path(folder) / GRAPH
        return Trial(found, graph.read_bytes() if graph.exists() else None)


def open_again(trial: Trial, path: Path, config: RuntimeConfig, threads: int) -> Loaded:
    """The model of the trial in this process, warm. Raises `StartupError`. In the thread that will predict."""
    facts = trial.facts
    if trial.graph is None:
        variant = facts.properties.get("variant")
        model = load_model(path, config.artifact.format, config.warmup_samples, config.tuning, variant=variant)
        warm_up_model(model, config.warmup_samples)
        return Loaded(model, facts)
    from slipway_runtime.models.tuning.onnxmodel import OnnxModel, open_session

    session = open_session(trial.graph, facts.device, threads)
    rebuilt = OnnxModel(session, facts.signature, facts.device, config.warmup_samples)
    warm_up_model(rebuilt, config.warmup_samples)
    return Loaded(rebuilt, facts)


def _run(
    path: Path, config: RuntimeConfig, choice: EngineChoice, folder: Path, enter: Callable[[Stage], None]
) -> LoadedModel | None:
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(
            _command(writing, folder),
            stdin=subprocess.PIPE,
            pass_fds=[writing],
            env={**os.environ, **choice.variables(0)},
            process_group=0,  # a person's Ctrl-C reaches the gateway alone
            text=True,
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    children.await_child(process.pid)
    facts = None
    with os.fdopen(reading, encoding="utf-8") as pipe:
        try:
            _give(process, json.dumps({"path": str(path), "config": config.model_dump(mode="json")}))
            for line in pipe:
                facts = _hear(json.loads(line), enter) or facts
        except ValueError as error:
            log.warning("The first load of the model was not understood: %s", error)
        finally:
            process.kill()
            code = process.wait()
            children.forget_child(process.pid)
    if facts is None:
        log.warning("The process of the model's first load ended with %d", code)
    return facts


def _command(descriptor: int, folder: Path) -> list[str]:
    options = [f"--descriptor={descriptor}", f"--folder={folder}", f"--log-format={current_format()}"]
    return [sys.executable, "-m", _MODULE, *options]


def _give(process: subprocess.Popen[str], task: str) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin as stdin:  # of a process that ended already
        stdin.write(task)


def _hear(message: dict[str, Any], enter: Callable[[Stage], None]) -> LoadedModel | None:
    if "stage" in message:
        enter(Stage(message["stage"]))
    elif "failed" in message:
        stage, reason, text = message["failed"]
        raise StartupError(Stage(stage), FailureReason(reason), text)
    elif "facts" in message:
        return decode_model(message["facts"])
    return None
