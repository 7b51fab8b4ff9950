"""What the demo prints."""

from __future__ import annotations

import io

import pytest

from tests.demo.picture import beside, draw
from tests.demo.progress import Steps

pytestmark = pytest.mark.unit


def test_picture_is_darker_where_there_is_more_ink() -> None:
    assert draw([[0.0, 0.25], [0.5, 1.0]]) == ["  ░░", "▒▒██"]


def test_pictures_stand_side_by_side_with_their_captions_below() -> None:
    text = beside([["██", "██"], ["  ", "░░"]], [["one"], ["2"]], gap=2)
    assert text == "██\n██  ░░\none  2"


def test_table_names_every_step_and_the_total() -> None:
    out = io.StringIO()
    steps = Steps(total=2, out=out)
    with steps.step("first"):
        pass
    with steps.step("second step"):
        pass
    assert [line.split("  ")[1].strip() for line in steps.table().splitlines()] == ["first", "second step", "total"]
    assert "[2/2] second step: done in" in out.getvalue()


def test_failing_step_is_named_and_its_error_passes_on() -> None:
    out = io.StringIO()
    steps = Steps(total=1, out=out)
    with pytest.raises(RuntimeError, match="no disk"), steps.step("uploading"):
        raise RuntimeError("no disk")
    assert "[1/1] uploading: failed after" in out.getvalue()
    assert steps.durations_seconds == []
