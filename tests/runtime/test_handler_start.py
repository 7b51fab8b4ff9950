"""Handlers that do not start say why in their own words; those that start know what they take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slipway_runtime.contract import Datatype, FailureReason
from slipway_runtime.failure import StartupError
from slipway_runtime.models.load import warm_up_model
from tests.runtime.handlers import Load, loading, sample

pytestmark = [pytest.mark.runtime, pytest.mark.timeout(300)]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    with loading(tmp_path) as load:
        yield load


def failure(load: Load, source: str, **options: Any) -> StartupError:
    with pytest.raises(StartupError) as raised:
        load(source, **options)
    assert "Traceback" not in raised.value.message
    return raised.value


EXAMPLE = """
    def signature():
        return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]},
                           {"name": "window", "datatype": "FP32", "shape": [-1, 2]}]}

    def example():
        return %s

    def predict(batch, ctx):
        if not all(batch["text"]):
            raise ValueError("empty")
        return {"length": [len(text) for text in batch["text"]]}
"""


def test_an_example_takes_the_place_of_made_up_values(load: Load) -> None:
    model = load(EXAMPLE % "{'text': 'hello', 'window': [0, 1]}", signature=False)
    assert model.example is not None
    assert model.example["text"].tolist() == [b"hello"]
    assert [(spec.name, spec.shape) for spec in warm_up_model(model, []).outputs] == [("length", [-1])]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("5", "expected a dict with ['text', 'window']"),
        ("{'text': 'a', 'window': [0, 1, 2]}", "window with the shape [3]; the handler takes window FP32 [-1, 2]"),
        ("{'text': 1, 'window': [0, 1]}", "'text' is INT64, its signature says BYTES"),
    ],
)
def test_an_example_that_does_not_fit_is_named(load: Load, answer: str, expected: str) -> None:
    assert expected in failure(load, EXAMPLE % answer, signature=False).message


PREDICT = "def predict(batch, ctx): ...\n"
LOAD_FAILED = FailureReason.MODEL_LOAD_FAILED


@pytest.mark.parametrize(
    ("source", "reason", "expected"),
    [
        ("import nowhere", LOAD_FAILED, "ModuleNotFoundError: No module named 'nowhere' (handler.py, line 1)"),
        ("def predict(:", LOAD_FAILED, "SyntaxError"),
        ("x = 1", LOAD_FAILED, "has no predict"),
        ("x = 1\ndef stream(item): yield 1", LOAD_FAILED, "let predict(batch, ctx) collect"),
        ("def predict(batch, ctx, more): ...", LOAD_FAILED, "called as predict(batch, ctx)"),
        ("def setup(ctx):\n    raise OSError('no file')", LOAD_FAILED, "setup: OSError: no file (handler.py, line 3)"),
        ("async def setup():\n    raise OSError('no file')", LOAD_FAILED, "OSError: no file (handler.py, line 3)"),
        ("def setup(ctx):\n    exit(1)", LOAD_FAILED, "SystemExit: 1 (handler.py, line 3)"),
        ("def setup(ctx):\n    raise MemoryError('8 GiB')", FailureReason.OUT_OF_MEMORY, "8 GiB"),
        ("class Handler:\n    def __init__(self): raise TypeError('odd')", LOAD_FAILED, "odd (handler.py, line 3)"),
        ("", FailureReason.SIGNATURE_MISSING, "signature()"),
        ("def signature():\n    return {'inputs': []}", LOAD_FAILED, "signature() of handler.py: inputs: got an empty"),
        ("def signature():\n    return 5", LOAD_FAILED, "signature() of handler.py"),
    ],
)
def test_a_start_that_fails_says_why_in_the_handlers_words(
    load: Load, source: str, reason: FailureReason, expected: str
) -> None:
    whole = source if source[:3] in ("imp", "x =") or "predict" in source else PREDICT + source
    error = failure(load, whole, signature=False)
    assert error.reason == reason
    assert expected in error.message


def test_a_stream_that_will_never_be_called_is_told(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    load("def predict(batch, ctx):\n    return batch['x'][:, 0]\n\ndef stream(item, ctx):\n    yield item\n")
    assert "stream of the handler is never called" in caplog.text


@pytest.mark.parametrize("condition", ["batch['x'].min() < 0", "batch['x'].any()"])
def test_made_up_values_are_changed_until_the_handler_takes_them(load: Load, condition: str) -> None:
    model = load(f"""
        def predict(batch, ctx):
            if {condition}:
                raise ValueError("not these")
            return batch["x"][:, 0]
        """)
    assert model.example is not None
    assert model.example["x"].shape == (1, 2)
    warm_up_model(model, [])
    assert load("def predict(batch, ctx):\n    return batch['x'][:, 0]\n").example is None


def test_is_not_served_when_the_warm_up_fails_inside(load: Load) -> None:
    model = load("def predict(batch, ctx):\n    return batch['nope']\n")
    with pytest.raises(StartupError) as raised:
        warm_up_model(model, [])
    assert raised.value.reason == FailureReason.WARM_UP_FAILED
    assert "KeyError: 'nope' (handler.py, line 2)" in raised.value.message


def test_is_not_served_when_it_says_that_it_is_not_well(load: Load) -> None:
    model = load("def predict(batch, ctx):\n    return batch['x'][:, 0]\ndef health():\n    return 'no disk'\n")
    with pytest.raises(StartupError, match="not well: no disk"):
        warm_up_model(model, [])


def test_a_handler_that_refuses_made_up_values_is_served_when_it_says_what_it_gives(load: Load) -> None:
    source = "def predict(batch, ctx):\n    raise ValueError('not real')\n"
    assert warm_up_model(load(source), []).outputs[0].name == "y"
    unsaid = load(source, sample(x=(Datatype.FP32, [-1, 2])), signature=False)
    with pytest.raises(StartupError, match="not real"):
        warm_up_model(unsaid, [])
