"""Started by the gateway, never by a person: `python -m slipway_runtime.engines.trial --descriptor N --folder F`.

Reads the configuration from standard input, loads and measures the model, and writes what came of it to the descriptor,
one JSON object a line.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from slipway_runtime.contract import RuntimeConfig
from slipway_runtime.engines.attempt import Enter, attempt
from slipway_runtime.engines.parent import obey_parent
from slipway_runtime.engines.trial.hold import GRAPH
from slipway_runtime.failure import StartupError
from slipway_runtime.logs import PATIENCE_SECONDS, LogFormat, configure_logging


@click.command()
@click.option("--descriptor", type=click.IntRange(3), required=True, help="Pipe to the gateway.")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), required=True, help="For larger results.")
@click.option("--log-format", type=click.Choice(["json", "text"]), default="json")
def main(descriptor: int, folder: Path, log_format: LogFormat) -> None:
    """Load and measure the model for a gateway."""
    configure_logging(log_format, patience_seconds=PATIENCE_SECONDS)
    obey_parent(descriptor)
    with os.fdopen(descriptor, "w", encoding="utf-8", buffering=1) as pipe:

        def tell(**message: Any) -> None:
            pipe.write(json.dumps(message) + "\n")

        _try(json.load(sys.stdin), folder, tell)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # torch's own end takes a while, and the gateway waits


def _try(task: dict[str, Any], folder: Path, tell: Callable[..., None]) -> None:
    # Imported once the gateway could see this process end.
    from slipway_runtime.engines.loading import Loaded, load_and_profile
    from slipway_runtime.engines.worker.facts import encode_model
    from slipway_runtime.models.tuning.onnxmodel import OnnxModel

    def load(enter: Enter) -> Loaded:
        return load_and_profile(Path(task["path"]), RuntimeConfig.model_validate(task["config"]), enter)

    try:
        loaded = attempt(load, lambda stage: tell(stage=stage), "The first load of the model failed inside the runtime")
    except StartupError as error:
        tell(failed=[error.stage, error.reason, error.message])
        return
    if isinstance(loaded.model, OnnxModel) and loaded.model.graph is not None:
        (folder / GRAPH).write_bytes(loaded.model.graph)
    tell(facts=encode_model(loaded.facts))


if __name__ == "__main__":
    main()
