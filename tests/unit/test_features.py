"""docs/features.md says yes where a test carries the row's marker, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import featurepage
from tests.featurepage import MarkerError, marked_tests, page, unknown_names
from tests.features import TABLES

pytestmark = pytest.mark.unit


def folder(tmp_path: Path, text: str) -> Path:
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_sample.py").write_text(text)
    return tests


def test_every_row_has_a_name_of_its_own() -> None:
    names = [feature.name for table in TABLES for feature in table.features]
    assert len(names) == len(set(names))


def test_every_marker_in_the_tests_names_a_row() -> None:
    assert unknown_names(marked_tests(featurepage.ROOT / "tests")) == []


def test_the_page_is_fresh_when_tests_gain_or_lose_a_marker() -> None:
    text = page(marked_tests(featurepage.ROOT / "tests"))
    assert featurepage.PAGE.read_text() == text, "run: make generate"


def test_markers_are_found_on_functions_classes_and_modules(tmp_path: Path) -> None:
    tests = folder(
        tmp_path,
        """
import pytest
pytestmark = [pytest.mark.unit, pytest.mark.feature("everywhere")]

@pytest.mark.feature("one", "two")
def test_function(): ...

@pytest.mark.feature("one")
class TestGroup:
    @pytest.mark.feature("three")
    async def test_method(self): ...

@pytest.mark.feature("one")
def helper(): ...
""",
    )
    assert marked_tests(tests) == {
        "everywhere": ["tests/test_sample.py::test_function", "tests/test_sample.py::TestGroup::test_method"],
        "one": ["tests/test_sample.py::test_function", "tests/test_sample.py::TestGroup::test_method"],
        "two": ["tests/test_sample.py::test_function"],
        "three": ["tests/test_sample.py::TestGroup::test_method"],
    }


def test_a_row_says_yes_with_its_test_and_not_yet_without_one() -> None:
    text = page({"onnx": ["tests/runtime/test_models.py::test_x"]})
    assert "| ONNX models | yes | [`test_x`](../tests/runtime/test_models.py) |" in text
    assert "| not yet |  |" in text
    assert text.count("| yes |") == 1
    assert "\n1 of " in text


def test_a_marker_without_a_row_is_refused_by_name() -> None:
    with pytest.raises(MarkerError, match=r"named no-such-row \(tests/test_a\.py::test_b\)"):
        page({"no-such-row": ["tests/test_a.py::test_b"]})


def test_a_marker_that_must_be_computed_is_refused_with_its_line(tmp_path: Path) -> None:
    tests = folder(tmp_path, "import pytest\n@pytest.mark.feature(NAME)\ndef test_a(): ...\n")
    with pytest.raises(MarkerError, match=r"tests/test_sample\.py:2: expected a feature's name in quotes"):
        marked_tests(tests)
