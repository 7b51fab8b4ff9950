"""Guards of the repository itself: folders, versions, sizes, and words that have no place in it."""

from __future__ import annotations

import operator
import re
import subprocess
import sysconfig
from pathlib import Path
from typing import Final

import pytest
import yaml

from slipway_operator import __version__

pytestmark = pytest.mark.unit

ROOT: Final = Path(__file__).parents[2]
LINES_LIMIT: Final = 400
GENERATED: Final = (
    "charts/slipway/values.schema.json",
    "crds/",
    "charts/slipway/templates/crd.yaml",
    "docs/reference/",
    "tests/golden/",
    "tests/unit/golden/",
)
TABLES: Final = ("tests/api/manifests.py",)
"""Data without logic, which a reader searches and does not read."""

# Spelt so that this file does not hold them itself.
INDEX_HOSTS: Final = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("files", "pythonhosted", "org"),
        ("proxy", "golang", "org"),
        ("deb", "debian", "org"),
        ("registry", "npmjs", "org"),
        ("index", "crates", "io"),
    )
)
MARKS: Final = tuple("".join(parts) for parts in (("TO", "DO"), ("FIX", "ME"), ("XX", "X")))


def tracked() -> list[Path]:
    """Files that git knows, and those that it would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if process.returncode != 0:
        pytest.skip("not a git checkout; nothing says which files belong to the repository")
    return sorted({ROOT / name for name in process.stdout.split("\0") if name and (ROOT / name).is_file()})


def texts() -> dict[str, str]:
    found = {}
    for path in tracked():
        try:
            found[str(path.relative_to(ROOT))] = path.read_text()
        except UnicodeDecodeError:
            continue
    return found


@pytest.mark.parametrize("folder", ["operator", "runtime"])
def test_a_folder_of_packages_is_no_package_when_python_looks(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()


def test_no_folder_of_tests_is_called_operator_when_pytest_collects() -> None:
    assert not (ROOT / "tests" / "operator").exists()


def test_operator_is_the_standard_librarys_when_imported() -> None:
    assert Path(operator.__file__).is_relative_to(sysconfig.get_path("stdlib"))


def test_one_number_is_the_version_when_package_chart_and_changelog_are_compared() -> None:
    chart = yaml.safe_load((ROOT / "charts" / "slipway" / "Chart.yaml").read_text())
    latest = re.search(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert latest is not None
    assert {chart["version"], chart["appVersion"], latest[1]} == {__version__}


def test_the_licence_is_apache_2_when_read() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert text.split()[:4] == ["Apache", "License", "Version", "2.0,"]
    assert "END OF TERMS AND CONDITIONS" in text


def test_a_module_stays_short_when_it_grows() -> None:
    long = {
        name: len(text.splitlines())
        for name, text in texts().items()
        if name.endswith((".py", ".sh", ".tpl", ".yaml")) and not name.startswith((*GENERATED, *TABLES))
    }
    assert {name: lines for name, lines in long.items() if lines > LINES_LIMIT} == {}


def test_every_module_says_what_it_is_responsible_for_when_opened() -> None:
    packages = ("operator/", "runtime/", "tests/", "examples/", "benchmarks/")
    silent = [
        name
        for name, text in texts().items()
        if name.startswith(packages) and name.endswith(".py") and text.strip() and not text.startswith(('"""', "#!"))
    ]
    assert silent == []


def test_no_index_of_packages_is_named_when_its_address_is_the_users_own() -> None:
    named = [(name, host) for name, text in texts().items() for host in INDEX_HOSTS if host in text]
    assert named == []


def test_nothing_is_left_for_later_in_a_comment_when_committed() -> None:
    left = [
        (name, mark)
        for name, text in texts().items()
        for mark in MARKS
        if name.endswith((".py", ".yaml", ".md", ".tpl")) and re.search(rf"\b{mark}\b", text)
    ]
    assert left == []


def test_no_folder_of_one_machine_is_named_when_paths_are_written_down() -> None:
    pattern = re.compile(r"(?<![\w.])/(?:home/(?!(?:ada|me|someone|user)/)\w+|work/\w+|Users/\w+)/")
    named = {name: found for name, text in texts().items() if (found := pattern.findall(text))}
    assert named == {}


def test_no_place_outside_the_repository_is_named_when_pages_and_comments_refer() -> None:
    pattern = re.compile("|".join((r"\.\./" + "shared", r"\bissue " + r"#?\d+", r"\(#" + r"\d+\)")))
    assert {name: found for name, text in texts().items() if (found := pattern.findall(text))} == {}


def test_no_module_is_called_a_drawer_when_named() -> None:
    drawers = {"utils.py", "util.py", "helpers.py", "helper.py", "common.py", "misc.py"}
    assert [path.name for path in tracked() if path.name in drawers] == []
