"""The answers of docs/conventions.md point at what exists: code, and tests that hold a test."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

pytestmark = pytest.mark.unit

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "conventions.md"
COLUMNS: Final = 4

_PATH: Final = re.compile(r"`([^`]+)`")


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells if row[0] != "Question"]


def test_every_answer_begins_with_yes_or_no_and_names_code_and_test() -> None:
    found = rows()
    assert len(found) > 50
    for row in found:
        assert len(row) == COLUMNS, row
        question, answer, code, tests = row
        assert re.match(r"(yes|no)\b", answer), question
        assert answer == "yes" or len(answer) > len("yes: "), question
        for path in _PATH.findall(code):
            assert (ROOT / path).is_file(), f"{question}: {path}"
        named = _PATH.findall(tests)
        assert named, question
        for path in named:
            assert re.search(r"^(async )?def test_", (ROOT / path).read_text(), re.MULTILINE), f"{question}: {path}"
