"""The `slipway` command as a user types it: what it prints and how it exits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from slipway import localrun
from slipway.cli import DEFAULT_RUNTIME_IMAGE, cli
from slipway_operator import __version__
from slipway_operator.tools.chart_values import ChartValues

pytestmark = pytest.mark.unit

VALID = """apiVersion: slipway.dev/v1alpha1
kind: ModelDeployment
metadata: {name: NAME}
spec: {artifact: {uri: "s3://models/digits.pt"}}
"""
INVALID = VALID.replace("s3:", "ftp:")


def slipway(*arguments: str, stdin: str | bytes = "") -> Result:
    return CliRunner().invoke(cli, list(arguments), input=stdin)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "model.yaml"
    path.write_text(VALID.replace("NAME", "digits"))
    return path


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken.yaml"
    path.write_text(INVALID.replace("NAME", "digits"))
    return path


def test_a_valid_manifest_is_named_and_the_exit_code_is_zero_when_validated(manifest: Path) -> None:
    result = slipway("validate", "-f", str(manifest))
    assert (result.exit_code, result.stdout) == (0, f"{manifest}: ModelDeployment digits: valid\n")


def test_problems_go_to_stdout_and_the_exit_code_is_one_when_refused(manifest: Path, broken: Path) -> None:
    result = slipway("validate", "-f", str(manifest), str(broken))
    assert result.exit_code == 1
    assert f"{broken}:4: ModelDeployment digits: spec.artifact.uri: got 'ftp://models/digits.pt'" in result.stdout
    assert result.stderr == "slipway validate: 1 problem.\n"


def test_standard_input_is_read_when_the_file_is_a_dash() -> None:
    result = slipway("validate", "-f", "-", stdin=INVALID.replace("NAME", "digits"))
    assert result.exit_code == 1
    assert result.stdout.startswith("standard input:4: ModelDeployment digits: spec.artifact.uri: ")


def test_a_byte_order_mark_is_no_problem_when_an_editor_left_one() -> None:
    assert (
        slipway("validate", "-f", "-", stdin=b"\xef\xbb\xbf" + VALID.replace("NAME", "digits").encode()).exit_code == 0
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["validate"], "Missing option '-f'"),
        (["validate", "-f", "nowhere.yaml"], "'nowhere.yaml' does not exist"),
        (["validate", "-f", "."], "is a directory"),
        (["run", "-f", "-", "--port", "70000"], "70000 is not in the range"),
        (["no-such-command"], "No such command"),
    ],
)
def test_the_exit_code_is_two_when_the_command_is_used_wrongly(arguments: list[str], words: str) -> None:
    result = slipway(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_the_line_is_told_when_a_file_is_not_utf8() -> None:
    result = slipway("validate", "-f", "-", stdin="a: b\nc: é".encode("latin-1"))
    assert result.exit_code == 2
    assert "standard input:2: not UTF-8 text" in result.stderr


@pytest.mark.parametrize("command", ["render", "run"])
def test_nothing_is_done_when_the_api_server_would_refuse_the_manifest(command: str, broken: Path) -> None:
    result = slipway(command, "-f", str(broken))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "spec.artifact.uri" in result.stderr


@pytest.mark.parametrize("command", ["render", "run"])
def test_the_exit_code_is_two_when_there_is_no_model_in_the_manifest(command: str) -> None:
    result = slipway(command, "-f", "-", stdin="apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n")
    assert result.exit_code == 2
    assert "Secret a: skipped" in result.stderr


def test_the_chosen_image_stands_in_the_deployment_when_rendered(manifest: Path) -> None:
    result = slipway("render", "-f", str(manifest), "--runtime-image", "registry.example.com/runtime:9", "-n", "vision")
    assert result.exit_code == 0
    assert "image: registry.example.com/runtime:9\n" in result.stdout
    assert "namespace: vision\n" in result.stdout


def test_the_default_image_is_the_charts_when_none_is_given() -> None:
    assert f"{ChartValues().runtime.image.repository}:{__version__}" == DEFAULT_RUNTIME_IMAGE


def test_one_is_to_be_chosen_when_the_manifest_holds_several_models() -> None:
    several = VALID.replace("NAME", "one") + "---\n" + VALID.replace("NAME", "two")
    result = slipway("run", "-f", "-", stdin=several)
    assert result.exit_code == 2
    assert "one, two. Choose one with --only NAME" in result.stderr
    result = slipway("run", "-f", "-", "--only", "three", stdin=several)
    assert "got three, expected one of one, two" in result.stderr


def test_the_way_to_install_is_told_when_the_runtime_is_not_here(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(localrun, "missing_packages", lambda: ["torch"])
    result = slipway("run", "-f", str(manifest))
    assert result.exit_code == 1
    assert "not installed here: torch. Install it with: pip install 'slipway[runtime,torch]'" in result.stderr


def test_the_way_to_install_is_told_when_the_commands_own_packages_are_not_here(manifest: Path) -> None:
    script = "import sys; sys.modules['celpy'] = None; from slipway.__main__ import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", script, "validate", "-f", str(manifest)], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "pip install 'slipway[cli]'" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_version_is_the_packages_when_asked() -> None:
    assert slipway("--version").stdout == f"slipway {__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["validate", "-h"], ["render", "-h"], ["run", "-h"]])
def test_help_needs_neither_torch_nor_the_clis_packages_when_asked(arguments: list[str]) -> None:
    script = (
        "import sys\n"
        "for name in ('torch', 'yaml', 'celpy', 'jsonschema', 'fastapi'): sys.modules[name] = None\n"
        "from slipway.__main__ import main; main()"
    )
    result = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "slipway run -f" in result.stdout or "Options:" in result.stdout


def test_a_server_of_another_kind_is_not_run_by_this_one() -> None:
    custom = VALID.replace("NAME", "app").replace("spec: {", "spec: {runtime: {engine: Custom, image: team/app:1}, ")
    result = slipway("run", "-f", "-", stdin=custom)
    assert result.exit_code == 1
    for words in ("spec.runtime.engine", "'Custom'", "team/app:1", "docs/containers.md"):
        assert words in result.stderr


def test_a_local_run_asks_for_the_samples_that_lie_in_a_config_map() -> None:
    warmup = "spec: {runtime: {warmup: {configMapRef: {name: digits-warmup}}}, "
    result = slipway("run", "-f", "-", stdin=VALID.replace("NAME", "app").replace("spec: {", warmup))
    assert result.exit_code == 1
    for words in ("spec.runtime.warmup.configMapRef", "digits-warmup", "samples.json", "--warmup-samples FILE"):
        assert words in result.stderr
