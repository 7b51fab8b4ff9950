"""A load in a process of its own: whatever ends it becomes one error with a stage and a reason."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from slipway_runtime.contract import FailureReason, Stage
from slipway_runtime.failure import StartupError

T = TypeVar("T")
Enter = Callable[[Stage], None]

log = logging.getLogger(__name__)


def attempt(load: Callable[[Enter], T], enter: Enter, failed: str) -> T:
    """Raises `StartupError` and nothing else. `failed` is what the log says when the runtime itself is to blame."""
    stage = Stage.LOAD

    def note(entered: Stage) -> None:
        nonlocal stage
        stage = entered
        enter(entered)

    try:
        return load(note)
    except StartupError:
        raise
    except MemoryError:
        text = "The memory does not suffice for the model."
        raise StartupError(stage, FailureReason.OUT_OF_MEMORY, text) from None
    except Exception as error:
        log.exception(failed)
        text = f"{type(error).__name__}: {error}. The log has the traceback."
        raise StartupError(stage, FailureReason.INTERNAL_ERROR, text) from error
