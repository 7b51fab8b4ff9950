"""Started by the gateway, never by a person: `python -m slipway_runtime.engines.worker --descriptor N`."""

from __future__ import annotations

import os
import socket
import sys
from typing import NoReturn

import click

from slipway_runtime.logs import PATIENCE_SECONDS, LogFormat, configure_logging


@click.command()
@click.option("--descriptor", type=click.IntRange(3), required=True, help="Socket to the gateway.")
@click.option("--log-format", type=click.Choice(["json", "text"]), default="json")
def main(descriptor: int, log_format: LogFormat) -> NoReturn:
    """Run the model for a gateway."""
    configure_logging(log_format, patience_seconds=PATIENCE_SECONDS)
    os.set_inheritable(descriptor, False)
    end = socket.socket(fileno=descriptor)
    # Imported once the gateway could see this process end.
    from slipway_runtime.engines.worker.child import serve

    code = serve(end)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
