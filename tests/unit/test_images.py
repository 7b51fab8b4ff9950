"""What the images and .venv are made from: requirement files, pip settings handed on, the Debian mirror found."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.unit

REPOSITORY = Path(__file__).parents[2]
LOCKS = [
    "tests/requirements.txt",
    "operator/requirements.txt",
    "runtime/requirements.txt",
    "runtime/requirements-torch.txt",
    ".ci/requirements-build.txt",
    ".ci/requirements-uv.txt",
]


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pip_settings = _load("pip_settings")
apt_mirror = _load("apt_mirror")


def _pins(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+==[^\s;]+)", (REPOSITORY / lock).read_text(), re.MULTILINE))


def _names(lock: str) -> set[str]:
    return {pin.partition("==")[0] for pin in _pins(lock)}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_is_pinned_with_a_hash_and_no_index_is_named(lock: str) -> None:
    text = (REPOSITORY / lock).read_text()
    for block in re.split(r"\n(?=\S)", text.strip()):
        assert re.match(r"[a-z0-9-]+==", block), block
        assert "--hash=sha256:" in block, block
    assert "://" not in text
    assert "--index" not in text


@pytest.mark.parametrize("lock", LOCKS[1:4])
def test_an_image_gets_the_versions_that_the_tests_ran_with(lock: str) -> None:
    assert _pins(lock) <= _pins("tests/requirements.txt")


def test_each_image_holds_its_own_extra_and_not_the_others() -> None:
    operator, runtime = _names("operator/requirements.txt"), _names("runtime/requirements.txt")
    assert {"kopf", "kubernetes", "pydantic"} <= operator
    assert not {"torch", "numpy", "fastapi"} & operator
    assert {"fastapi", "httptools", "obstore", "pydantic"} <= runtime
    heavy = {name for name in runtime if name.startswith(("torch", "nvidia", "cuda", "triton", "numpy"))}
    assert heavy == {"nvidia-ml-py"}, "which only asks the driver"
    assert not {"kopf", "kubernetes"} & runtime


def test_the_locks_answer_every_requirement_of_their_extra() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for requirements, names in (
        (project["dependencies"] + extras["operator"], _names("operator/requirements.txt")),
        (project["dependencies"] + extras["runtime"], _names("runtime/requirements.txt") | {"numpy"}),
        (extras["torch"], _names("runtime/requirements-torch.txt")),
    ):
        asked = {re.split(r"[^A-Za-z0-9-]", requirement)[0].lower() for requirement in requirements}
        assert asked <= names


def test_environment_wins_over_the_configuration_file(tmp_path: Path) -> None:
    file = tmp_path / "pip.conf"
    file.write_text("[global]\nindex-url = https://file.example/simple\nextra-index-url =\n  https://a\n  https://b\n")
    settings = pip_settings.pip_settings({"PIP_INDEX_URL": "https://env.example/simple"}, [file])
    environment = pip_settings.uv_environment(settings)
    assert environment["UV_DEFAULT_INDEX"] == "https://env.example/simple"
    assert environment["UV_INDEX"] == "https://a https://b"


def test_configuration_files_are_left_alone_when_pip_is_told_to() -> None:
    assert pip_settings.configuration_files({"PIP_CONFIG_FILE": "/dev/null"}) == []
    named = pip_settings.configuration_files({"PIP_CONFIG_FILE": "/x/pip.conf", "HOME": "/h"})
    assert named[-1] == Path("/x/pip.conf")
    assert Path("/h/.config/pip/pip.conf") in named


def test_image_build_gets_the_mounted_bundle_and_no_folder_of_this_machine() -> None:
    settings = {"cert": "/home/me/ca.pem", "find-links": "/wheels https://links.example/", "index-url": "https://i"}
    text = pip_settings.image_pip_conf(settings, "/run/secrets/ca")
    assert "cert = /run/secrets/ca" in text
    assert "/home/me" not in text
    assert "/wheels" not in text
    assert "find-links = https://links.example/" in text
    assert "cert" not in pip_settings.image_pip_conf(settings, None)


def test_mirror_is_found_in_deb822_sources_past_security_and_disabled_ones() -> None:
    text = (
        "Types: deb\nURIs: https://m.example/debian-security\nSuites: bookworm-security\nComponents: main\n\n"
        "Enabled: no\nTypes: deb\nURIs: https://off.example/debian\nSuites: bookworm\nComponents: main\n\n"
        "# ours\nTypes: deb deb-src\nURIs:\n https://m.example/debian/\nSuites: bookworm bookworm-updates\n"
        "Components: main\n"
    )
    assert apt_mirror.find_mirror([], [text]) == "https://m.example/debian"


def test_mirror_is_found_in_one_line_sources_with_options() -> None:
    text = (
        "# deb http://old.example/debian bookworm main\n"
        "deb https://other.example/apt tools main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://m.example/debian bookworm main contrib # ours\n"
    )
    assert apt_mirror.find_mirror([text], []) == "http://m.example/debian"


def test_no_mirror_is_found_when_apt_knows_only_other_distributions() -> None:
    assert apt_mirror.find_mirror(["deb http://m.example/ubuntu noble main universe\n"], []) is None


def test_uv_settings_survive_the_shell_when_they_hold_quotes_and_spaces() -> None:
    program = [sys.executable, str(REPOSITORY / ".ci/pip_settings.py"), "uv"]
    secret = "https://user:pa'ss$word@i.example/simple"
    lines = subprocess.run(
        program,
        env={"PIP_INDEX_URL": secret, "PIP_CONFIG_FILE": "/dev/null"},
        text=True,
        capture_output=True,
        check=True,
    ).stdout
    echoed = subprocess.run(
        ["bash", "-c", f'{lines}\nprintf %s "$UV_DEFAULT_INDEX"'], text=True, capture_output=True, check=True, env={}
    )
    assert echoed.stdout == secret


@pytest.mark.parametrize("script", ["install", "lock", "images", "base-image"])
def test_scripts_explain_themselves_when_called_wrongly(script: str) -> None:
    answer = subprocess.run([REPOSITORY / ".ci" / script, "--nonsense"], text=True, capture_output=True)
    assert answer.returncode == 2
    assert f".ci/{script}" in answer.stderr
    assert "#" not in answer.stderr
