"""Programs are taken from what is there, then from releases, then built; the cache never holds a half one."""

from __future__ import annotations

import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster import components, gobuild
from tests.cluster.errors import ClusterError, RequirementError
from tests.cluster.versions import COMPONENTS, KUBERNETES, Component, Release
from tests.fixtures.site import Site

pytestmark = pytest.mark.unit

NAME = "kubectl"
MINOR = ".".join(KUBERNETES.split(".")[:2])

# Stands in for the compiler: writes a program where `-o` says, and notes that it was called.
GO = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/calls"
[ -e "$(dirname "$0")/broken" ] && { echo 'k8s.io/kubernetes: cannot find module' >&2; exit 1; }
while [ $# -gt 0 ]; do
  case "$1" in -o) output="$2"; shift ;; k8s.io/*) packages="$packages $1" ;; esac
  shift
done
for package in $packages; do
  case "$output" in */) target="$output$(basename "$package")" ;; *) target="$output" ;; esac
  printf '#!/bin/sh\\necho built\\n' > "$target"
done
mkdir -p "$GOMODCACHE" "$GOCACHE"
"""


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache and a PATH with the usual tools only: no Kubernetes program, no Go."""
    monkeypatch.setenv("SLIPWAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.delenv("SLIPWAY_GO_CACHE", raising=False)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "basename", "dirname", "mkdir"):
        found = shutil.which(name)
        assert found
        (tools / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(tools))
    publish(monkeypatch, Release("http://127.0.0.1:9/program", "http://127.0.0.1:9/program.sha256"))


@pytest.fixture
def go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Go on PATH; returns the file with the arguments of each call."""
    folder = tmp_path / "go"
    program(folder / "go", GO)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder / "calls"


def publish(monkeypatch: pytest.MonkeyPatch, release: Release) -> None:
    for name in (NAME, "kubelet"):
        monkeypatch.setitem(COMPONENTS, name, replace(COMPONENTS[name], release=release))


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def says(version: str) -> str:
    return f"#!/bin/sh\necho Client Version: v{version}\n"


def component() -> Component:
    return COMPONENTS[NAME]


def test_assets_folder_wins_over_everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, go: Path) -> None:
    expected = program(tmp_path / "assets" / NAME, says("1.30.0"))
    program(tmp_path / "tools" / NAME, says(KUBERNETES))
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    assert components.ensure(NAME) == expected
    assert not go.exists()


def test_program_on_path_is_taken_when_it_has_the_pinned_minor_version(tmp_path: Path, go: Path) -> None:
    expected = program(tmp_path / "tools" / NAME, says(f"{MINOR}.99"))
    assert components.ensure(NAME) == expected
    assert not go.exists()


@pytest.mark.parametrize("text", [says("1.32.4"), "#!/bin/sh\nexit 1\n", "#!/bin/sh\necho unknown\n"])
def test_program_on_path_is_passed_over_when_its_version_is_another(tmp_path: Path, go: Path, text: str) -> None:
    passed_over = program(tmp_path / "tools" / NAME, text)
    assert components.ensure(NAME) != passed_over
    assert go.exists()


def test_release_is_downloaded_once_and_then_found_in_the_cache(
    monkeypatch: pytest.MonkeyPatch, site: Site, go: Path
) -> None:
    content = says(KUBERNETES).encode()
    path = program(Path(os.environ["SLIPWAY_CACHE"]) / "sample", says(KUBERNETES))
    site.files = {"/kubectl": content, "/kubectl.sha256": components.sha256_of(path).encode()}
    publish(monkeypatch, Release(site.url("/kubectl"), site.url("/kubectl.sha256")))
    first = components.ensure(NAME)
    assert first.read_bytes() == content
    assert json.loads((first.parent / "manifest.json").read_text())["origin"] == site.url("/kubectl")
    site.files.clear()
    assert components.ensure(NAME) == first
    assert not go.exists()


def test_program_is_built_when_the_release_has_a_wrong_checksum(
    monkeypatch: pytest.MonkeyPatch, site: Site, go: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    site.files = {"/kubectl": b"tampered", "/kubectl.sha256": b"0" * 64}
    publish(monkeypatch, Release(site.url("/kubectl"), site.url("/kubectl.sha256")))
    assert components.ensure(NAME).read_text() == "#!/bin/sh\necho built\n"
    assert "its publisher says" in capfd.readouterr().err


def test_programs_of_one_module_are_built_in_one_invocation_with_their_version(go: Path) -> None:
    found = components.ensure_all([NAME, "kubelet"])
    assert {path.name for path in found.values()} == {NAME, "kubelet"}
    (call,) = go.read_text().splitlines()
    assert "k8s.io/kubernetes/cmd/kubectl k8s.io/kubernetes/cmd/kubelet" in call
    assert f"-X k8s.io/component-base/version.gitVersion=v{KUBERNETES}" in call
    assert "-trimpath" in call


def test_go_caches_are_dropped_after_the_build_and_kept_where_the_user_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, go: Path
) -> None:
    components.ensure(NAME)
    assert not (tmp_path / "cache" / "go").exists()
    monkeypatch.setenv("SLIPWAY_GO_CACHE", str(tmp_path / "kept"))
    components.ensure("kubelet")
    assert (tmp_path / "kept" / "gomod").is_dir()


def test_program_is_made_again_when_its_bytes_changed(go: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = components.ensure(NAME)
    path.write_text("#!/bin/sh\necho damaged\n")
    assert components.ensure(NAME).read_text() == "#!/bin/sh\necho built\n"
    assert "is damaged, made again" in capfd.readouterr().err
    assert len(go.read_text().splitlines()) == 2


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sha256": 1}'])
def test_program_is_made_again_when_its_manifest_is_damaged(go: Path, text: str) -> None:
    path = components.ensure(NAME)
    (path.parent / "manifest.json").write_text(text)
    assert components.find(NAME) is None
    assert components.ensure(NAME) == path
    assert components.find(NAME) == path


def test_nothing_of_a_killed_run_stays_in_the_cache(go: Path) -> None:
    folder = components.components_directory()
    program(folder / ".build-killed" / NAME, "half")
    program(folder / ".partial-killed" / "entry" / NAME, "half")
    components.ensure(NAME)
    assert sorted(path.name for path in folder.iterdir()) == [".lock", components.cache_entry(component()).name]


def test_it_is_built_once_when_two_ask_at_the_same_time(go: Path) -> None:
    threads = [threading.Thread(target=components.ensure, args=(NAME,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(go.read_text().splitlines()) == 1


def test_missing_go_is_said_with_every_way_out() -> None:
    with pytest.raises(RequirementError, match="kubectl: not on this machine") as raised:
        components.ensure(NAME)
    assert "go.dev/dl" in str(raised.value)
    assert "KUBEBUILDER_ASSETS" in str(raised.value)


def test_failed_build_shows_what_the_compiler_said_and_leaves_nothing(go: Path) -> None:
    program(go.parent / "broken", "")
    with pytest.raises(ClusterError, match="cannot find module"):
        components.ensure(NAME)
    assert [path.name for path in components.components_directory().iterdir()] == [".lock"]


def test_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ClusterError, match=r"'kubectrl': expected one of .*kubectl"):
        components.ensure("kubectrl")


def test_every_component_is_pinned_by_a_module_that_requires_its_version() -> None:
    for each in COMPONENTS.values():
        text = (gobuild.MODULES / each.module / "go.mod").read_text()
        assert each.package in text
        assert f" v{each.version}" in text
        assert (gobuild.MODULES / each.module / "go.sum").stat().st_size > 0
