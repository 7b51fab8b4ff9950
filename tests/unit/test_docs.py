"""What the pages say is so: links lead somewhere, manifests are valid, commands exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import yaml

from slipway.cli import cli
from slipway.reference import cli_page
from slipway.validation import validate_files

pytestmark = pytest.mark.unit

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
        *ROOT.glob("charts/*/*.md"),
    ]
)
MANIFESTS: Final = sorted((ROOT / "examples").rglob("*.yaml"))
README_LINES: Final = 200
CONTRIBUTING_LINES: Final = 100

_FENCE: Final = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE: Final = re.compile(r"`[^`\n]*`")
_HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)
_PROMPT_CONTINUED: Final = re.compile(r"\\\n\s*")


@dataclass(frozen=True)
class Snippet:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def snippets(language: str) -> list[Snippet]:
    return [snippet for page in PAGES for snippet in snippets_of(page) if snippet.language == language]


def snippets_of(page: Path) -> Iterator[Snippet]:
    text = page.read_text()
    for match in _FENCE.finditer(text):
        indent = len(match[1])
        body = "".join(line[indent:] for line in match[3].splitlines(keepends=True))
        yield Snippet(page, text[: match.start(3)].count("\n") + 1, match[2], body)


def commands() -> Iterator[tuple[Snippet, list[str]]]:
    """Words of every line of every console block, without comments."""
    for snippet in snippets("console"):
        for line in _command_lines(_PROMPT_CONTINUED.sub(" ", snippet.text)):
            if words := shlex.split(line, comments=True):
                yield snippet, words


def _command_lines(text: str) -> list[str]:
    """Of a transcript, what was typed after `$` and continued after `>`; else every line."""
    lines = text.splitlines()
    if not any(line.startswith("$ ") for line in lines):
        return lines
    typed: list[str] = []
    for line in lines:
        if line.startswith("$ "):
            typed.append(line[2:])
        elif line.startswith("> "):
            typed[-1] += f"\n{line[2:]}"
    return typed


def anchors(page: Path) -> set[str]:
    """As GitHub makes them from headings."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(page.read_text())
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading_when_followed(page: Path) -> None:
    for target in _LINK.findall(_CODE.sub("", _FENCE.sub("", page.read_text()))):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        linked = (page.parent / file).resolve() if file else page
        assert linked.exists(), f"{page.name} links to {target}"
        assert linked.is_relative_to(ROOT), f"{page.name} links out of the repository: {target}"
        assert not anchor or anchor in anchors(linked), f"{page.name} links to {target}, which has no such heading"


@pytest.mark.parametrize("snippet", snippets("yaml"), ids=str)
def test_a_manifest_on_a_page_is_valid_when_pasted(snippet: Snippet) -> None:
    documents = [document for document in yaml.safe_load_all(snippet.text) if document]
    report = validate_files([(str(snippet), snippet.text)] if any("kind" in document for document in documents) else [])
    assert not report.problems
    assert documents


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_an_example_is_valid_when_applied(manifest: Path) -> None:
    report = validate_files([(manifest.name, manifest.read_text())])
    assert not report.problems
    assert not report.notes
    assert report.models


def test_the_manifest_of_the_front_page_is_the_example_when_compared() -> None:
    (shown,) = [
        snippet for snippet in snippets("yaml") if snippet.page.name == "README.md" and snippet.page.parent == ROOT
    ]
    assert yaml.safe_load(shown.text) == yaml.safe_load((ROOT / "examples" / "digits.yaml").read_text())


@pytest.mark.parametrize("snippet", snippets("python"), ids=str)
def test_python_on_a_page_compiles_when_pasted(snippet: Snippet) -> None:
    compile(snippet.text, str(snippet), "exec")


def test_every_make_verb_on_a_page_exists_when_typed() -> None:
    verbs = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    typed = {verb for _, words in commands() if words[0] == "make" for verb in words[1:]}
    inline = {verb for page in PAGES for verb in re.findall(r"`make ([a-z]+)`", page.read_text())}
    assert {"demo", "test"} <= typed | inline
    assert typed | inline <= verbs


def test_every_slipway_command_on_a_page_is_understood_when_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    lines = [words for _, words in commands() if words[0].endswith("slipway")]
    assert {words[1] for words in lines} >= {"validate", "run"}
    for words in lines:
        command = cli.commands[words[1]]
        # A manifest of the reader's own is not here; any file takes its place.
        arguments = [__file__ if word.endswith(".yaml") and not (ROOT / word).exists() else word for word in words[2:]]
        command.make_context(words[1], arguments, **cli.context_settings)


def test_every_file_of_this_repository_named_in_a_command_exists_when_typed() -> None:
    prefixes = ("examples/", "charts/", "crds/", ".ci/", "tests/")
    named = {word for _, words in commands() for word in words if word.startswith(prefixes)}
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
    listed = set(_LINK.findall((folder / "README.md").read_text()))
    assert listed == {path.name for path in folder.glob("0*.md")}
    for path in folder.glob("0*.md"):
        parts = ("**Context.**", "**Decision.**", "**Evidence.**", "**Consequences.**", "**Revisit when**")
        assert all(part in path.read_text() for part in parts), path.name
