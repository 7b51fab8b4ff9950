"""The pages of the documentation as tests read them: blocks, commands, words in code, links and headings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
        *ROOT.glob("charts/*/*.md"),
    ]
)

_FENCE: Final = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_INDENTED: Final = re.compile(r"(?<=\n\n)((?: {4}.+\n)+)")
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE: Final = re.compile(r"`([^`\n]+)`")
_HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)
_CELL_END: Final = re.compile(r"(?<!\\)\|")
_CONTINUED: Final = re.compile(r"\\\n\s*")
_PROGRAMS: Final = frozenset({"make", "kubectl", "helm", "python", "slipway", "slipway-runtime", "docker"})
"""What begins an indented block of commands; other indented blocks are code or formulas."""


@dataclass(frozen=True)
class Snippet:
    """A block of a page, and the line at which it begins."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One command of a page, in words, without its comment."""

    snippet: Snippet
    words: list[str]

    @property
    def program(self) -> str:
        """`.venv/bin/slipway` is slipway, and what stands before it sets variables."""
        return self.words[0].rpartition("/")[2]

    def __str__(self) -> str:
        return f"{self.snippet}: {' '.join(self.words)}"


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def snippets(language: str) -> list[Snippet]:
    """All fenced blocks of a language, of all pages."""
    return [snippet for page in PAGES for snippet in _fenced(page) if snippet.language == language]


def languages() -> set[str]:
    return {snippet.language for page in PAGES for snippet in _fenced(page)}


def commands() -> list[Command]:
    """Of console blocks and of indented blocks that begin with a program of ours or with kubectl, helm and the like."""
    return [
        Command(snippet, words)
        for snippet in [*snippets("console"), *_indented_commands()]
        for line in _typed(_CONTINUED.sub(" ", snippet.text))
        if (words := _without_variables(shlex.split(line, comments=True)))
    ]


def words_in_code(page: Path) -> list[str]:
    """What stands between backticks, outside of blocks."""
    return _CODE.findall(_FENCE.sub("", page.read_text()))


def prose(page: Path) -> str:
    """Without blocks and without what stands between backticks."""
    return _CODE.sub("", _FENCE.sub("", page.read_text()))


def links(page: Path) -> list[str]:
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """As GitHub makes them from headings."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def tables(page: Path) -> list[list[list[str]]]:
    """Of each table its rows, of each row its cells; the second row is the line under the head."""
    found: list[list[list[str]]] = []
    before = ""
    for line in _FENCE.sub("", page.read_text()).splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            found[-1].append([cell.strip() for cell in _CELL_END.split(line.strip())[1:-1]])
        before = line
    return found


def _fenced(page: Path) -> Iterator[Snippet]:
    text = page.read_text()
    for match in _FENCE.finditer(text):
        indent = len(match[1])
        body = "".join(line[indent:] for line in match[3].splitlines(keepends=True))
        yield Snippet(page, text[: match.start(3)].count("\n") + 1, match[2], body)


def _indented_commands() -> Iterator[Snippet]:
    for page in PAGES:
        text = page.read_text()
        outside = _FENCE.sub(lambda match: "\n" * match[0].count("\n"), text)
        for match in _INDENTED.finditer(outside):
            body = "".join(line[4:] for line in match[1].splitlines(keepends=True))
            first = _without_variables(body.split())
            if first and (first[0] in _PROGRAMS or first[0].startswith(".ci/")):
                yield Snippet(page, outside[: match.start()].count("\n") + 1, "console", body)


def _typed(text: str) -> list[str]:
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


def _without_variables(words: list[str]) -> list[str]:
    """`NAME=value program` sets a variable for the program."""
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    return words
