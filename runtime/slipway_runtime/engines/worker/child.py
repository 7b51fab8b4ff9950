"""The worker process: loads the model, then answers batches until the gateway closes it or is gone."""

from __future__ import annotations

import faulthandler
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from slipway_runtime.contract import Format, RuntimeConfig, Stage
from slipway_runtime.engines.attempt import Enter, attempt
from slipway_runtime.engines.loading import load_and_profile
from slipway_runtime.engines.parent import obey_parent
from slipway_runtime.engines.worker.checkup import Checkup, UnwellError
from slipway_runtime.engines.worker.facts import encode_model
from slipway_runtime.engines.worker.predictor import GatewayGoneError, Predictor
from slipway_runtime.engines.worker.wire import (
    BrokenMessageError,
    Channel,
    Close,
    Failed,
    Forget,
    Load,
    Loaded,
    Progress,
    Run,
)
from slipway_runtime.failure import StartupError
from slipway_runtime.models.load import load_model, warm_up_model
from slipway_runtime.models.model import Model

_UNWELL_EXIT_CODE: Final = 3
_OOM_SCORE_RISE: Final = 100
_OOM_SCORE: Final = Path("/proc/self/oom_score_adj")

log = logging.getLogger(__name__)


def serve(end: socket.socket) -> int:
    """Returns the exit code."""
    _isolate(end)
    channel = Channel(end)
    try:
        received = channel.receive()
        if received is None:
            return 0
        load = received[0]
        if not isinstance(load, Load):
            raise BrokenMessageError(f"{type(load).__name__} where Load was expected")
        model = _load(load, channel)
        if model is None:
            return 1
        _answer(model, channel)
    except (BrokenPipeError, ConnectionError, GatewayGoneError):
        return 0  # nobody is left to answer to
    except BrokenMessageError as error:
        log.error("The gateway sent what cannot be understood: %s", error)
        return 1
    except OSError as error:
        log.error("Shared memory cannot be mapped: %s", error.strerror)
        return 1
    return 0


def _isolate(end: socket.socket) -> None:
    obey_parent(end.fileno())
    faulthandler.enable()
    # Where memory runs out the kernel should take the model and leave the gateway, which can say what happened.
    with suppress(OSError, ValueError):
        _OOM_SCORE.write_text(str(min(1000, int(_OOM_SCORE.read_text()) + _OOM_SCORE_RISE)))


def _load(message: Load, channel: Channel) -> Model | None:
    """None when it failed and the gateway was told."""

    def load(enter: Enter) -> tuple[Model, Loaded]:
        config = RuntimeConfig.model_validate(message.config)
        path = Path(message.path)
        if not message.profile:
            return _load_again(path, config, message.variant, enter), Loaded(None)
        loaded = load_and_profile(path, config, enter)
        return loaded.model, Loaded(encode_model(loaded.facts))

    try:
        model, told = attempt(
            load, lambda stage: channel.send(Progress(stage)), "The start of the worker failed inside the runtime"
        )
    except StartupError as error:
        channel.send(Failed(error.stage, error.reason, error.message))
        return None
    channel.send(told)
    return model


def _load_again(path: Path, config: RuntimeConfig, variant: str | None, enter: Callable[[Stage], None]) -> Model:
    """As it was loaded before, and warm; the first worker tuned and measured for all."""
    enter(Stage.LOAD)
    model = load_model(path, config.artifact.format, config.warmup_samples, config.tuning, variant=variant)
    enter(Stage.WARM_UP)
    warm_up_model(model, config.warmup_samples)
    return model


def _answer(model: Model, channel: Channel) -> None:
    """Ends the process when the model says that it is not well."""
    predictor = Predictor(model, channel)
    checkup = Checkup(model, channel) if model.format is Format.PYTHON else None
    while True:
        if checkup is not None and not predictor.behind:
            try:
                checkup.wait()
            except UnwellError as error:
                log.error("The handler is not well, so its process ends and another is started: %s", error)
                model.close()
                raise SystemExit(_UNWELL_EXIT_CODE) from None
        if (received := predictor.next()) is None:
            break
        message, descriptors = received
        if isinstance(message, Run):
            predictor.run(message, descriptors)
        elif isinstance(message, Forget):
            predictor.forget(message.regions)
        elif isinstance(message, Close):
            break
        else:
            raise BrokenMessageError(f"{type(message).__name__} is nothing that a worker is told")
    model.close()
