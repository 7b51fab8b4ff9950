"""Log lines: whole JSON, about an object, without secrets."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from slipway_operator.logs import JsonFormatter, TextFormatter, about

pytestmark = pytest.mark.unit


def record(message: str, **extra: object) -> logging.LogRecord:
    found = logging.LogRecord("slipway-operator", logging.INFO, __file__, 1, message, (), None)
    found.__dict__.update(extra)
    return found


def test_a_line_names_its_object() -> None:
    line = json.loads(JsonFormatter().format(record("applying", **about("vision", "digits", 3))))
    assert (line["namespace"], line["name"], line["generation"]) == ("vision", "digits", 3)
    assert (line["level"], line["logger"], line["msg"]) == ("INFO", "slipway-operator", "applying")
    assert "vision/digits: applying" in TextFormatter().format(record("applying", **about("vision", "digits")))


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
