"""What the pages show works: links lead somewhere, manifests are valid, commands and their flags exist."""

from __future__ import annotations

import importlib.util
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import click
import jsonschema
import pytest
import yaml

from slipway.cli import cli
from slipway.reference import cli_page
from slipway.validation import validate_files
from slipway_operator.api.reasons import ConditionType
from slipway_runtime.__main__ import main as runtime_command
from tests.pages import PAGES, ROOT, Command, Snippet, anchors, commands, languages, links, name_of, snippets, tables
from tests.pages import words_in_code as words

pytestmark = pytest.mark.unit

MANIFESTS: Final = sorted((ROOT / "examples").rglob("*.yaml"))
VALUES: Final[dict[str, Any]] = yaml.safe_load((ROOT / "charts" / "slipway" / "values.yaml").read_text())
README_LINES: Final = 200
CONTRIBUTING_LINES: Final = 100
FRAGMENT: Final = {
    "apiVersion": "slipway.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"name": "shown"},
    "spec": {"artifact": {"uri": "s3://models/shown/model.pt"}},
}
"""What a block that shows a part of a spec leaves out."""


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading_when_followed(page: Path) -> None:
    for target in links(page):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        linked = (page.parent / file).resolve() if file else page
        assert linked.exists(), f"{page.name} links to {target}"
        assert linked.is_relative_to(ROOT), f"{page.name} links out of the repository: {target}"
        assert not anchor or anchor in anchors(linked), f"{page.name} links to {target}, which has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_table_has_a_head_and_rows_of_equal_length_when_shown(page: Path) -> None:
    for table in tables(page):
        widths = {len(cells) for cells in table}
        assert len(widths) == 1, f"{page.name}: {' | '.join(table[0])}"
        assert all(re.fullmatch(r":?-+:?", cell) for cell in table[1]), f"{page.name}: {' | '.join(table[0])}"


def test_every_page_is_found_when_one_begins_at_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    listed = {(index.parent / target.partition("#")[0]).resolve() for target in links(index)}
    missing = [page.name for page in (ROOT / "docs").glob("*.md") if page not in listed | {index}]
    missing += [page.name for page in (ROOT / "docs" / "reference").glob("*.md") if page not in listed]
    assert not missing, f"docs/index.md does not list {missing}"


@pytest.mark.parametrize("snippet", snippets("yaml"), ids=str)
def test_yaml_on_a_page_is_accepted_when_pasted(snippet: Snippet) -> None:
    """A whole object by its kind; a part of a spec beside the least there is; values by the chart's schema."""
    documents = [document for document in yaml.safe_load_all(snippet.text) if document]
    assert documents
    if all("kind" in document for document in documents):
        assert not validate_files([(str(snippet), snippet.text)]).problems
        return
    (document,) = documents
    if "spec" in document:
        whole = {**FRAGMENT, "spec": {**FRAGMENT["spec"], **document["spec"]}}  # type: ignore[dict-item]
        assert not validate_files([(str(snippet), yaml.safe_dump(whole))]).problems
    elif "data" not in document:
        jsonschema.validate(document, json.loads((ROOT / "charts" / "slipway" / "values.schema.json").read_text()))


@pytest.mark.parametrize("snippet", snippets("json"), ids=str)
def test_json_on_a_page_can_be_read(snippet: Snippet) -> None:
    json.loads(snippet.text)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_an_example_is_valid_when_applied(manifest: Path) -> None:
    report = validate_files([(manifest.name, manifest.read_text())])
    assert not report.problems
    assert not report.notes
    assert report.models


def test_every_example_is_listed_when_it_is_there() -> None:
    listed = set(links(ROOT / "examples" / "README.md"))
    assert {manifest.name for manifest in MANIFESTS} <= listed


def test_the_manifest_of_the_front_page_is_the_example_when_compared() -> None:
    (shown,) = [snippet for snippet in snippets("yaml") if snippet.page == ROOT / "README.md"]
    assert yaml.safe_load(shown.text) == yaml.safe_load((ROOT / "examples" / "digits.yaml").read_text())


@pytest.mark.parametrize("snippet", snippets("python"), ids=str)
def test_python_on_a_page_compiles_when_pasted(snippet: Snippet) -> None:
    compile(snippet.text, str(snippet), "exec")


def test_commands_stand_in_blocks_that_tests_read_when_written() -> None:
    assert not languages() & {"bash", "sh", "shell", "yml"}, "call them console and yaml"


def test_every_make_verb_on_a_page_exists_when_typed() -> None:
    verbs = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    typed = {verb for found in commands() if found.program == "make" for verb in found.words[1:] if "=" not in verb}
    inline = {verb for page in PAGES for word in words(page) for verb in re.findall(r"^make ([a-z]+)", word)}
    assert {"demo", "test"} <= typed & inline
    assert typed | inline <= verbs


def test_every_make_verb_is_told_to_contributors_when_it_exists() -> None:
    verbs = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    told = set(re.findall(r"^\| `make ([a-z]+)`", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE))
    assert verbs - {"help"} == told


def test_every_slipway_command_on_a_page_is_understood_when_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    typed = [found for found in commands() if found.program == "slipway"]
    assert {found.words[1] for found in typed} >= {"validate", "run"}
    for found in typed:
        command = cli.commands[found.words[1]]
        # A manifest of the reader's own is not here; any file takes its place.
        given = [__file__ if word.endswith(".yaml") and not (ROOT / word).exists() else word for word in found.words]
        command.make_context(found.words[1], given[2:], **cli.context_settings)


def test_every_slipway_command_in_a_sentence_exists_when_typed() -> None:
    for page in PAGES:
        for word in words(page):
            if match := re.match(r"slipway ([a-z]+)", word):
                assert match[1] in cli.commands, f"{page.name}: {word}"
                assert set(flags(word)) <= options(cli.commands[match[1]]), f"{page.name}: {word}"


def test_every_flag_of_the_runtime_on_a_page_exists_when_typed() -> None:
    known = options(runtime_command)
    typed = [" ".join(found.words) for found in commands() if found.program == "slipway-runtime"]
    inline = [word for page in PAGES for word in words(page) if word.startswith("slipway-runtime ")]
    assert typed
    assert inline
    for line in [*typed, *inline]:
        assert set(flags(line)) <= known, line


def test_every_module_that_a_page_runs_exists_with_its_flags_when_typed() -> None:
    runs = [found for found in commands() if found.program == "python" and found.words[1] == "-m"]
    assert len(runs) > 4
    for found in runs:
        assert found.words[0] == ".venv/bin/python", f"{found}: another Python does not have the packages"
        module = found.words[2]
        spec = importlib.util.find_spec(module)
        assert spec is not None, str(found)
        assert spec.origin is not None
        if module.startswith("tests."):
            sources = "".join(path.read_text() for path in Path(spec.origin).parent.glob("*.py"))
            for flag in flags(" ".join(found.words)):
                assert f'"{flag}"' in sources, str(found)


def test_every_condition_that_kubectl_is_told_to_wait_for_exists_when_typed() -> None:
    lines = [" ".join(found.words) for found in commands()]
    waited = {(line, match) for line in lines for match in re.findall(r"--for=condition=(\w+)", line)}
    assert waited
    for line, condition in waited:
        assert condition in {str(known) for known in ConditionType}, line
        # kubectl's own 30 s are too few for a node that pulls an image of a gigabyte.
        assert "--timeout=" in line, line


def test_every_value_that_helm_is_told_to_set_exists_when_typed() -> None:
    told = [(found, value) for found in commands() if found.program == "helm" for value in set_values(found)]
    assert told
    for found, path in told:
        inner: Any = VALUES
        for step in path.split("."):
            assert isinstance(inner, dict), str(found)
            assert step in inner, str(found)
            inner = inner[step]


def set_values(command: Command) -> list[str]:
    return [value.partition("=")[0] for flag, value in pairwise(command.words) if flag == "--set"]


def flags(line: str) -> list[str]:
    return re.findall(r"(?<=\s)--[a-z][a-z-]*", line)


def options(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in [*parameter.opts, *parameter.secondary_opts]} | {"--help"}


def test_every_file_of_this_repository_named_in_a_command_exists_when_typed() -> None:
    prefixes = ("examples/", "charts/", "crds/", ".ci/", "tests/")
    named = {word for found in commands() for word in found.words if word.startswith(prefixes)}
    assert {"examples/digits.yaml", "charts/slipway"} <= named
    for word in named:
        assert (ROOT / word).exists(), word


def test_the_commands_page_is_fresh_when_help_texts_change() -> None:
    page = ROOT / "docs" / "reference" / "cli.md"
    assert page.read_text() == cli_page(), f"Run: .venv/bin/python -m slipway.reference > {page.relative_to(ROOT)}"


@pytest.mark.parametrize(("name", "limit"), [("README.md", README_LINES), ("CONTRIBUTING.md", CONTRIBUTING_LINES)])
def test_a_front_page_stays_short_when_it_grows(name: str, limit: int) -> None:
    assert len((ROOT / name).read_text().splitlines()) <= limit


def test_every_decision_is_in_the_list_when_written() -> None:
    folder = ROOT / "docs" / "adr"
    assert set(links(folder / "README.md")) == {path.name for path in folder.glob("0*.md")}
    for path in folder.glob("0*.md"):
        parts = ("**Context.**", "**Decision.**", "**Evidence.**", "**Consequences.**", "**Revisit when**")
        assert all(part in path.read_text() for part in parts), path.name
