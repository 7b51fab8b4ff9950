"""The command `slipway-operator`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Final

import click

from slipway_operator import __version__, application, logs, memory, settings
from slipway_operator.errors import LeaseLostError, SettingsError
from slipway_operator.names import COMPONENT

LEASE_LOST: Final = 3
"""Exit code."""


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=COMPONENT)
@click.pass_context
def main(context: click.Context) -> None:
    """Turns ModelDeployments into served models.

    Settings come from the environment (SLIPWAY_*; docs/operator.md lists them), the cluster from the pod's
    ServiceAccount or from KUBECONFIG.
    """
    if context.invoked_subcommand is None:
        context.invoke(run)


@main.command()
def run() -> None:
    """Run until SIGTERM. This is what happens without a command too."""
    try:
        given = settings.from_environment(os.environ)
        logs.configure(given.log_level, given.log_format)
        memory.freeze_imports()
        asyncio.run(application.run(given, os.environ))
    except SettingsError as error:
        click.echo(f"{COMPONENT}: {error}", err=True)
        sys.exit(2)
    except LeaseLostError:
        # Told in the log already. The next process waits for its turn with nothing left of this one's view.
        sys.exit(LEASE_LOST)
    except Exception:
        # The process ends here; the next one starts from the cluster's state.
        logging.getLogger(COMPONENT).exception("the operator ended")
        sys.exit(1)


if __name__ == "__main__":
    main()
