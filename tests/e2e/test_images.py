"""The built images themselves: who runs in them, what is in them, and that they start on a read-only root."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

REPOSITORY = Path(__file__).parents[2]
OWN_BYTES_LIMIT = 150_000_000
NAMES = ("operator", "runtime")


def _images(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([REPOSITORY / ".ci/images", *arguments], text=True, capture_output=True)


@pytest.fixture(scope="module")
def references() -> dict[str, str]:
    if not any(shutil.which(program) for program in ("docker", "podman", "buildah")):
        pytest.skip("no docker, podman or buildah; on Debian: sudo apt-get install buildah debootstrap")
    if os.geteuid() != 0:
        pytest.skip("running the built images needs root")
    built = _images("build")
    assert built.returncode == 0, built.stderr
    return dict(line.split("=", 1) for line in built.stdout.splitlines())


def _run(reference: str, *command: str) -> subprocess.CompletedProcess[str]:
    return _images("run", reference, *command)


def _python(reference: str, program: str) -> str:
    answer = _run(reference, "python", "-c", program)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


@pytest.mark.parametrize("name", NAMES)
def test_image_runs_as_a_numeric_user_that_is_not_root(references: dict[str, str], name: str) -> None:
    configuration: dict[str, Any] = json.loads(_images("inspect", references[name]).stdout)
    assert configuration["User"] == "65532:65532"
    assert configuration["Entrypoint"] == [f"slipway-{name}"]
    assert _python(references[name], "import os; print(os.getuid(), os.getgid())") == "65532 65532"


@pytest.mark.parametrize("name", NAMES)
def test_labels_tell_what_the_image_is_and_what_it_was_built_from(references: dict[str, str], name: str) -> None:
    labels = json.loads(_images("inspect", references[name]).stdout)["Labels"]
    described = {key.removeprefix("org.opencontainers.image."): value for key, value in labels.items()}
    assert described["title"] == f"slipway-{name}"
    assert described["licenses"] == "Apache-2.0"
    assert all(described[key] for key in ("description", "source", "version", "revision"))
    assert described["version"] in references[name]


@pytest.mark.parametrize("name", NAMES)
def test_command_starts_when_the_root_file_system_is_read_only(references: dict[str, str], name: str) -> None:
    assert _run(references[name], "touch", "/opt/slipway/x").returncode != 0
    answer = _run(references[name], f"slipway-{name}", "--help")
    assert answer.returncode == 0, answer.stderr
    assert "Usage" in answer.stdout or "usage" in answer.stdout


@pytest.mark.parametrize("name", NAMES)
def test_image_holds_no_tool_that_builds_or_installs(references: dict[str, str], name: str) -> None:
    found = _python(
        references[name],
        "import shutil, importlib.util as u; "
        "print([t for t in ('pip', 'pip3', 'gcc', 'cc', 'make', 'uv') if shutil.which(t)], u.find_spec('pip'))",
    )
    assert found == "[] None"


@pytest.mark.parametrize("name", NAMES)
def test_module_operator_is_the_standard_librarys(references: dict[str, str], name: str) -> None:
    assert "/opt/" not in _python(references[name], "import operator; print(operator.__file__)")


def test_each_image_holds_only_its_own_half(references: dict[str, str]) -> None:
    missing = "import importlib.util as u, sys; print([name for name in sys.argv[1:] if u.find_spec(name)])"
    operator = _run(references["operator"], "python", "-c", missing, "torch", "fastapi", "kopf")
    assert operator.stdout.strip() == "['kopf']"
    runtime = _run(references["runtime"], "python", "-c", missing, "torch", "fastapi", "kopf", "kubernetes")
    assert runtime.stdout.strip() == "['torch', 'fastapi']"


def test_torch_of_the_runtime_multiplies_matrices_and_hands_them_to_numpy(references: dict[str, str]) -> None:
    program = "import torch; print((torch.ones(64, 64) @ torch.ones(64, 64)).numpy().sum())"
    assert float(_python(references["runtime"], program)) == 64**3


def test_own_layers_of_the_operator_stay_small(references: dict[str, str]) -> None:
    size = _run(references["operator"], "du", "-sb", "/opt/slipway").stdout.split()[0]
    assert 0 < int(size) < OWN_BYTES_LIMIT


def test_operators_own_modules_and_the_client_are_compiled(references: dict[str, str]) -> None:
    program = (
        "import pathlib, slipway_operator.names as own, kopf, kubernetes.aio.client.api_client as client; "
        "print(all(pathlib.Path(m.__cached__).is_file() for m in (own, kopf, client)))"
    )
    assert _python(references["operator"], program) == "True"


def test_nothing_of_the_building_machine_stays_in_the_image(references: dict[str, str]) -> None:
    program = (
        "import pathlib; print([str(p) for p in map(pathlib.Path, ('/etc/pip.conf', '/run/secrets/pip', "
        "'/run/secrets/ca', '/build', '/wheel', '/opt/tools', '/etc/apt/sources.list.d/build.list')) if p.exists()])"
    )
    for name in NAMES:
        assert _python(references[name], program) == "[]"


def test_reference_changes_when_the_code_does_and_only_then(references: dict[str, str], tmp_path: Path) -> None:
    for name in ("Dockerfile", ".dockerignore", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, tmp_path)
    for name in (".ci", "operator", "runtime"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))

    def build() -> str:
        built = subprocess.run(
            [tmp_path / ".ci/images", "build", "--target", "operator"], text=True, capture_output=True, cwd=tmp_path
        )
        assert built.returncode == 0, built.stderr
        return built.stdout

    first = build()
    assert build() == first
    with (tmp_path / "operator/slipway_operator/names.py").open("a") as source:
        source.write("\n# changed\n")
    assert build() != first
