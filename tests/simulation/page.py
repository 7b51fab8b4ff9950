"""The tables of docs/batching.md: written there, and read from there by the test that holds them to the code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/batching.md"


def render(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Markdown; the first column is words, the others are figures."""
    lines = [head, *rows]
    ruler = "|---|" + "---:|" * (len(head) - 1)
    first, *others = ["| " + " | ".join(line) + " |" for line in lines]
    return [first, ruler, *(line.replace("|  |", "| |") for line in others)]


def replace_table(text: str, name: str, lines: Sequence[str]) -> str:
    """The page with this table between its marks; unchanged where it has no such marks."""
    begin, end = _marks(name)
    before, found, rest = text.partition(begin)
    if not found:
        return text
    return "\n".join([before + begin, "", *lines, "", end + rest.partition(end)[2]])


def read_table(text: str, name: str) -> dict[str, dict[str, str]]:
    """Cells by policy and column."""
    begin, end = _marks(name)
    rows = text.partition(begin)[2].partition(end)[0].strip().splitlines()
    head, _, *others = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {cells[0]: dict(zip(head[1:], cells[1:], strict=True)) for cells in others}


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
