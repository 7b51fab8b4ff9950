"""The `slipway` command: check a manifest, show what becomes of it, serve it as a local process.

Heavy imports happen inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from slipway_operator import __version__
from slipway_runtime.contract import ADMIN_PORT, GRPC_PORT, INFERENCE_PORT

if TYPE_CHECKING:
    from slipway.validation import Report, ValidModel

FC = TypeVar("FC", bound="Callable[..., Any] | click.Command")

EXIT_REFUSED: Final = 1
RUNTIME_IMAGE_VARIABLE: Final = "SLIPWAY_RUNTIME_IMAGE"
DEFAULT_RUNTIME_IMAGE: Final = f"ghcr.io/slipway-dev/runtime:{__version__}"
"""The chart's own default."""

_MANIFEST = click.Path(exists=True, dir_okay=False, allow_dash=True)
_PORT = click.IntRange(1, 65535)
_SETTINGS: Final[dict[str, Any]] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=_SETTINGS)
@click.version_option(__version__, prog_name="slipway", message="%(prog)s %(version)s")
def cli() -> None:
    """Check, show and serve ModelDeployments without a cluster.

    \b
    slipway validate -f model.yaml    what the API server would refuse, all of it at once
    slipway render -f model.yaml      every object that the operator would make
    slipway run -f model.yaml         the same model as a local process
    """


def _files_option(help_text: str, multiple: bool = True) -> Callable[[FC], FC]:
    return click.option(
        "-f", "--filename", "files", type=_MANIFEST, multiple=multiple, required=True, metavar="FILE", help=help_text
    )


@cli.command()
@_files_option("Manifest to check; - is standard input. May be given several times.")
@click.argument("more", nargs=-1, type=_MANIFEST, metavar="[FILE]...")
def validate(files: tuple[str, ...], more: tuple[str, ...]) -> None:
    """Say what the API server would refuse, all of it at once.

    The schema, its defaults and its rules are those of the ModelDeployment CRD. A line for each problem:
    FILE:LINE: ModelDeployment NAME: path: what was given, what is expected, what to do. Other kinds of objects are
    skipped with a note.

    Exit code: 0 all accepted, 1 something is refused, 2 wrong use of this command.

    \b
    Examples:
      slipway validate -f examples/digits.yaml
      slipway validate -f deploy/*.yaml
      kustomize build . | slipway validate -f -
    """
    report = _read([*files, *more])
    for problem in report.problems:
        click.echo(problem)
    for model in report.models:
        click.echo(f"{model.source}: ModelDeployment {model.name}: valid")
    if report.problems:
        count = len(report.problems)
        click.echo(f"slipway validate: {count} {'problem' if count == 1 else 'problems'}.", err=True)
        sys.exit(EXIT_REFUSED)
    if not report.models:
        click.echo("slipway validate: no ModelDeployment found.", err=True)


@cli.command()
@_files_option("Manifest to render; - is standard input. May be given several times.")
@click.option(
    "--runtime-image",
    envvar=RUNTIME_IMAGE_VARIABLE,
    show_envvar=True,
    default=DEFAULT_RUNTIME_IMAGE,
    show_default=True,
    metavar="IMAGE",
    help="Image for models that name none; in a cluster the installation decides it.",
)
@click.option("-n", "--namespace", metavar="NAMESPACE", help="Namespace instead of the manifest's own (or default).")
def render(files: tuple[str, ...], runtime_image: str, namespace: str | None) -> None:
    """Print every object that the operator would make, as YAML.

    The same code renders in the operator. What only a cluster knows is left out, and a comment says so.

    \b
    Examples:
      slipway render -f examples/digits.yaml
      slipway render -f examples/digits.yaml | kubectl apply --dry-run=server -f -
    """
    from slipway.render import render_yaml
    from slipway_operator.render.manifest import RenderSettings

    models = _accepted(_read(files), "render")
    settings = RenderSettings(runtime_image=runtime_image)
    click.echo("---\n".join(render_yaml(model, namespace, settings) for model in models), nl=False)


@cli.command()
@_files_option("Manifest to serve; - is standard input.", multiple=False)
@click.option("--only", metavar="NAME", help="Which ModelDeployment, where the manifest holds several.")
@click.option("--uri", metavar="URI", help="Artifact instead of the manifest's: a URI or the path of a local file.")
@click.option("--set-name", metavar="NAME", help="Name of the model in URLs instead of the manifest's.")
@click.option(
    "--warmup-samples",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="JSON file with warm-up samples instead of the manifest's; needed where these are in a ConfigMap.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=_PORT, default=INFERENCE_PORT, show_default=True, help="Port of the inference protocol.")
@click.option("--admin-port", type=_PORT, default=ADMIN_PORT, show_default=True, help="Port of probes and metrics.")
@click.option(
    "--grpc-port",
    type=_PORT,
    help=f"Port of gRPC. Without it gRPC is served on {GRPC_PORT} where the manifest asks for it.",
)
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Form of the log."
)
def run(
    files: str,
    only: str | None,
    uri: str | None,
    set_name: str | None,
    warmup_samples: Path | None,
    host: str,
    port: int,
    admin_port: int,
    grpc_port: int | None,
    log_format: str,
) -> None:
    """Serve a ModelDeployment as a local process, until Ctrl-C.

    The runtime gets the configuration that the operator would give it. Plain values of spec.runtime.env are set;
    credentials come from your own environment, and whatever else a cluster adds is named at the start.

    \b
    Examples:
      slipway run -f examples/digits.yaml --uri build/digits/model.pt
      AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… slipway run -f examples/digits.yaml --port 9000
    """
    from slipway.environment import describe_differences, needed_samples, run_environment
    from slipway.localrun import Launch, find_port_conflict, local_config, missing_packages, serve
    from slipway_operator.render.runtime_config import render_runtime_config
    from slipway_runtime.redact import redact_uri

    model = _choose(_accepted(_read([files]), "run"), only)
    if model.spec.runtime is not None and model.spec.runtime.engine == "Custom":
        raise click.ClickException(
            f"spec.runtime.engine of {model.name}: got 'Custom', expected Slipway, the runtime beside this command. Run"
            f" {model.spec.runtime.image} itself, with the variables that docs/containers.md lists."
        )
    if warmup_samples is None and (refusal := needed_samples(model.spec)) is not None:
        raise click.ClickException(refusal)
    if missing := missing_packages():
        raise click.ClickException(
            f"slipway run needs the runtime; not installed here: {', '.join(missing)}."
            " Install it with: pip install 'slipway[runtime,torch]'"
        )
    config = render_runtime_config(set_name or model.name, model.spec)
    if uri is not None and config.artifact.digest is not None:
        _say("spec.artifact.digest is not checked, because --uri names another artifact.")
    config = local_config(config, None if uri is None else _as_uri(uri), grpc_port, warmup_samples)
    ports = {"--port": port, "--admin-port": admin_port, "--grpc-port": config.grpc_port}
    if conflict := find_port_conflict(host, {flag: number for flag, number in ports.items() if number is not None}):
        raise click.ClickException(conflict)
    for difference in describe_differences(model.spec, config.artifact.uri, os.environ):
        _say(difference)
    launch = Launch(config, run_environment(model.spec, os.environ), host, port, admin_port, log_format)
    _say(f"starting {config.name} from {redact_uri(config.artifact.uri)} on {launch.url}, Swagger at {launch.url}/docs")
    sys.exit(serve(launch, _say))


def _read(files: Iterable[str]) -> Report:
    from slipway.validation import validate_files

    report = validate_files([(_source_name(file), _read_text(file)) for file in files])
    for note in report.notes:
        click.echo(note, err=True)
    return report


def _source_name(file: str) -> str:
    return "standard input" if file == "-" else file


def _read_text(file: str) -> str:
    content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise click.UsageError(f"{_source_name(file)}:{line}: not UTF-8 text. Save the manifest as UTF-8.") from None


def _accepted(report: Report, command: str) -> list[ValidModel]:
    for problem in report.problems:
        click.echo(problem, err=True)
    if report.problems:
        click.echo(f"slipway {command}: nothing done, the API server would refuse this manifest.", err=True)
        sys.exit(EXIT_REFUSED)
    if not report.models:
        raise click.UsageError("no ModelDeployment found. Give a manifest with one to -f.")
    return report.models


def _choose(models: list[ValidModel], only: str | None) -> ValidModel:
    names = ", ".join(model.name for model in models)
    chosen = [model for model in models if only in (None, model.name)]
    if not chosen:
        raise click.UsageError(f"--only: got {only}, expected one of {names}.")
    if len(chosen) > 1:
        raise click.UsageError(f"the manifest holds several ModelDeployments: {names}. Choose one with --only NAME.")
    return chosen[0]


def _as_uri(uri: str) -> str:
    return uri if "://" in uri else Path(uri).expanduser().resolve().as_uri()


def _say(text: str) -> None:
    click.echo(f"slipway run: {text}", err=True)
