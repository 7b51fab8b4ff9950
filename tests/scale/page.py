"""Writes a run's figures between the markers of docs/scale.md; the prose around them is by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tests.scale.figures import GROWTH_HEAD, Figures, growth_row, table

PAGE: Final = Path(__file__).parents[2] / "docs" / "scale.md"
HEADLINE_OBJECTS: Final = 2000
"""The table of every figure is about this many objects; other runs add a row to the growth table only."""


def updated(page: str, found: Figures, machine: str) -> str:
    """The page with this run's figures; a row of the same number of objects is replaced."""
    if found.objects == HEADLINE_OBJECTS:
        page = with_block(page, "figures", f"{table(found)}\n\nMeasured on {machine}.")
    rows = {
        int(match[1]): line
        for line in _block(page, "growth").splitlines()
        if (match := re.match(r"\| (\d+) \|", line)) is not None
    }
    rows[found.objects] = growth_row(found)
    return with_block(page, "growth", "\n".join([GROWTH_HEAD, *(rows[count] for count in sorted(rows))]))


def write(found: Figures, machine: str) -> None:
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8"), found, machine), encoding="utf-8")


def _block(page: str, name: str) -> str:
    found = _pattern(name).search(page)
    if found is None:
        raise ValueError(f"the page lacks the markers <!-- {name}: begin --> and <!-- {name}: end -->.")
    return found[2]


def with_block(page: str, name: str, content: str) -> str:
    """The page with this between the markers of that name."""
    _block(page, name)
    return _pattern(name).sub(lambda match: f"{match[1]}\n{content}\n{match[3]}", page)


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name}: begin -->)(.*?)(<!-- {name}: end -->)", re.DOTALL)
