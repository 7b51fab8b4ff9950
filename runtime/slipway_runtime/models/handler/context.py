"""What a handler is given to work with."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Final

PARAMETER_PREFIX: Final = "SLIPWAY_PARAM_"


@dataclass
class Context:
    """One for the life of a model, and the `ctx` of every call."""

    device: str
    """`cpu` or `cuda`."""
    model_dir: Path
    """The folder of `handler.py`, with everything that came in the artifact."""
    params: Mapping[str, str]
    """From environment variables: `SLIPWAY_PARAM_THRESHOLD=0.5` is `params["threshold"]`."""
    logger: logging.Logger = field(default_factory=lambda: logging.getLogger("slipway.handler"))
    deadline: float | None = None
    """On the clock of `time.monotonic()`: when the current call must have ended. None where nothing limits it."""
    closing: bool = False

    @property
    def cancelled(self) -> bool:
        """Nobody waits for the current call any more: worth a look in a long loop."""
        return self.closing or (self.deadline is not None and monotonic() > self.deadline)


def read_params(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    return {
        name.removeprefix(PARAMETER_PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PARAMETER_PREFIX) and name != PARAMETER_PREFIX
    }
