"""Log lines: whole JSON, about an object, without secrets."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from slipway_operator.logs import JsonFormatter, TextFormatter, about
from slipway_operator.records import ModelRecord
from slipway_operator.resources import Key

pytestmark = pytest.mark.unit

MODEL = ModelRecord(Key("vision", "digits"), "u-1", 3, False, b"{}", 1, b"{}")


def record(message: str, **extra: object) -> logging.LogRecord:
    found = logging.LogRecord("slipway-operator", logging.INFO, __file__, 1, message, (), None)
    found.__dict__.update(extra)
    return found


def test_a_line_names_its_object() -> None:
    line = json.loads(JsonFormatter().format(record("applying", **about(MODEL))))
    assert (line["namespace"], line["name"], line["uid"], line["generation"]) == ("vision", "digits", "u-1", 3)
    assert (line["level"], line["logger"], line["msg"]) == ("INFO", "slipway-operator", "applying")
    assert "vision/digits: applying" in TextFormatter().format(record("applying", **about(MODEL)))


def test_a_line_about_an_object_that_is_gone_names_what_is_known() -> None:
    line = json.loads(JsonFormatter().format(record("gone", **about(MODEL.key))))
    assert (line["namespace"], line["name"]) == ("vision", "digits")
    assert not {"uid", "generation"} & line.keys()


def test_an_exception_stays_on_one_line() -> None:
    found = record("failed")
    try:
        raise ValueError("https://me:secret@example.com/x")
    except ValueError:
        found.exc_info = sys.exc_info()
    text = JsonFormatter().format(found)
    assert "\n" not in text
    assert "ValueError" in json.loads(text)["exception"]
    assert "secret" not in text
