"""`slipway-runtime`: flags and a config file in, a served model out."""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any, NoReturn

if os.getpid() == 1:
    # The kernel drops a signal that process 1 has no handler for, and the imports below take most of a second.
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))

import click

from slipway_runtime.config import read_config
from slipway_runtime.contract import ADMIN_PORT, INFERENCE_PORT, FailureReason, Format, RuntimeConfig, Stage
from slipway_runtime.failure import StartupError, write_termination_message
from slipway_runtime.lifecycle import Lifecycle
from slipway_runtime.logs import LogFormat, configure_logging

log = logging.getLogger("slipway_runtime")

_PORT = click.IntRange(0, 65535)
_TALK_SECONDS = 3.0
"""For the last lines of the log and the last words, where nobody may read them."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="JSON file with the configuration.")
@click.option("--uri", help="Artifact: s3://BUCKET/KEY, https://HOST/PATH, http://HOST/PATH or file:///PATH.")
@click.option("--name", help="Name of the model in URLs.")
@click.option("--digest", help="What the artifact must hash to: sha256:…")
@click.option("--format", "form", type=click.Choice([str(form) for form in Format]), help="Kind of artifact.")
@click.option("--host", default="0.0.0.0", show_default=True, help="Address to listen on.")  # noqa: S104
@click.option("--port", type=_PORT, default=INFERENCE_PORT, show_default=True, help="Port for predictions.")
@click.option("--admin-port", type=_PORT, default=ADMIN_PORT, show_default=True, help="Port for probes and metrics.")
@click.option("--grpc-port", type=_PORT, help="Port for gRPC; 0 is a free one.  [default: no gRPC]")
@click.option("--triton-metrics", is_flag=True, default=None, help="Serve metrics under Triton's names as well.")
@click.option(
    "--fetch-to",
    type=click.Path(path_type=Path),
    help="Only fetch the artifact into this folder and check it, for another server.",
)
@click.option("--log-format", type=click.Choice(["json", "text"]), default="json", show_default=True)
def main(
    config_path: Path | None,
    uri: str | None,
    name: str | None,
    digest: str | None,
    form: str | None,
    host: str,
    port: int,
    admin_port: int,
    grpc_port: int | None,
    triton_metrics: bool | None,
    fetch_to: Path | None,
    log_format: LogFormat,
) -> None:
    """Serve one model artifact over the Open Inference Protocol and /predict.

    Values of flags win over those of the file. Credentials come from the environment; docs/runtime.md lists them.
    """
    # Until the loop has its own.
    signal.signal(signal.SIGTERM, _stop_at_once)
    _fill_standard_descriptors()
    configure_logging(log_format)
    overrides: dict[str, Any] = {
        "name": name,
        "grpcPort": grpc_port,
        "tritonMetrics": triton_metrics,
        "artifact": {"uri": uri, "digest": digest, "format": form},
    }
    lifecycle = Lifecycle()
    try:
        config = read_config(config_path, overrides)
        if fetch_to is not None:
            _fetch(config, fetch_to)
        else:
            _serve(config, lifecycle, host, port, admin_port)
    except StartupError as error:
        _fail(error, lifecycle)
    except MemoryError:
        _fail(StartupError(Stage.LOAD, FailureReason.OUT_OF_MEMORY, "The process ran out of memory."), lifecycle)
    _exit(0)


def _serve(config: RuntimeConfig, lifecycle: Lifecycle, host: str, port: int, admin_port: int) -> None:
    # Imported once the input is known to be good, so that bad input is answered at once.
    from asyncio import Runner

    import uvloop

    from slipway_runtime.metrics import Metrics
    from slipway_runtime.serving.admin import AdminApp, start_admin
    from slipway_runtime.serving.inspection import Inspection
    from slipway_runtime.serving.listener import bind

    metrics = Metrics(lifecycle, config.sla)
    runner = Runner(loop_factory=uvloop.new_event_loop)
    admin_socket = bind(host, admin_port, "--admin-port")
    listening = bind(host, port, "--port")
    inspection = Inspection(config, metrics, runner.get_loop())
    start_admin(AdminApp(lifecycle, metrics, inspection), admin_socket)
    log.info(
        "Listening",
        extra={"port": listening.getsockname()[1], "admin_port": admin_socket.getsockname()[1], "model": config.name},
    )

    from slipway_runtime.process import Server, run

    with runner:
        runner.run(run(Server(config, lifecycle, metrics, listening)))


def _fetch(config: RuntimeConfig, directory: Path) -> None:
    from slipway_runtime.artifact.deliver import deliver

    deliver(config.artifact, directory)


def _fail(error: StartupError, lifecycle: Lifecycle) -> NoReturn:
    if error.stage is Stage.FETCH:
        write_termination_message(error, fetched_bytes=lifecycle.fetched_bytes, artifact_bytes=lifecycle.artifact_bytes)
    else:
        write_termination_message(error)
    log.error("%s", error.message, extra={"reason": error.reason, "stage": error.stage})
    _exit(error.exit_code, f"slipway-runtime: {error.reason}: {error.message}")


def _stop_at_once(number: int, frame: FrameType | None) -> NoReturn:
    _exit(0)


def _exit(code: int, last_words: str = "") -> NoReturn:
    """Without waiting for threads: a download or a prediction that hangs must not hold the process, nor must whoever
    does not read what it says."""
    talking = Thread(target=_say, args=(last_words,), daemon=True)
    talking.start()
    talking.join(_TALK_SECONDS)
    os._exit(code)


def _say(last_words: str) -> None:
    logging.shutdown()
    with suppress(OSError, ValueError):
        if last_words:
            click.echo(last_words, err=True)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()


def _fill_standard_descriptors() -> None:
    """Where one is closed, the next socket would be given its number, and the words of every process with it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gives the lowest number that is free
            os.set_inheritable(number, True)


if __name__ == "__main__":
    main()
