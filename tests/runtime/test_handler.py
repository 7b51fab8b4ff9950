"""Python handlers as models: real code, sync and async, with every way it can go wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from slipway_runtime.contract import Datatype, Format
from slipway_runtime.models.load import warm_up_model
from slipway_runtime.models.model import (
    DeviceMemoryError,
    OutputError,
    PredictionError,
    RejectedInputError,
    RowError,
    RowsFailedError,
)
from tests.runtime.handlers import Load, loading, sample

pytestmark = [pytest.mark.runtime, pytest.mark.timeout(300)]

ROWS = np.array([[1, 2], [3, 4], [5, 6]], np.float32)


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    with loading(tmp_path) as load:
        yield load


def test_one_function_is_enough(load: Load) -> None:
    model = load("def predict(batch, ctx):\n    return {'y': batch['x'].sum(axis=1)}\n")
    assert (model.format, model.device) == (Format.PYTHON, "cpu")
    assert warm_up_model(model, []).outputs[0].name == "y"
    np.testing.assert_array_equal(model.predict({"x": ROWS})["y"], [3, 7, 11])


@pytest.mark.feature("python-handler")
@pytest.mark.parametrize("word", ["", "async "])
def test_a_class_has_every_hook_sync_or_async(load: Load, tmp_path: Path, word: str) -> None:
    model = load(
        f"""
        import numpy as np

        class Handler:
            {word}def setup(self, ctx):
                self.factor = float(ctx.params.get("factor", 10))
                self.folder = ctx.model_dir
                assert ctx.device == "cpu"

            def signature(self):
                return {{"inputs": [{{"name": "text", "datatype": "BYTES", "shape": [-1]}}],
                         "outputs": [{{"name": "length", "datatype": "INT32", "shape": [-1]}},
                                     {{"name": "upper", "datatype": "BYTES", "shape": [-1]}}]}}

            {word}def preprocess(self, item, ctx):
                return {{"size": np.float32(len(item["text"])), "text": item["text"]}}

            {word}def predict(self, batch, ctx):
                assert not ctx.cancelled
                return {{"scaled": batch["size"] * self.factor, "text": batch["text"]}}

            {word}def postprocess(self, row, ctx):
                return {{"length": int(row["scaled"]), "upper": row["text"].decode().upper()}}

            {word}def health(self):
                return self.factor > 0 or "the factor is not positive"

            {word}def teardown(self):
                (self.folder / "gone").touch()
        """,
        signature=False,
    )
    assert model.health() is None
    answer = model.predict({"text": np.array([b"ab", b"c", b""], np.object_)}, limit_seconds=60)
    assert answer["length"].dtype == np.int32
    assert answer["length"].tolist() == [20, 10, 0]
    assert answer["upper"].tolist() == [b"AB", b"C", b""]
    model.close()
    assert (tmp_path / "gone").exists()


def test_parameters_come_from_the_environment(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_PARAM_FACTOR", "7")
    model = load("""
        def setup(ctx):
            global factor
            factor = float(ctx.params["factor"])

        def predict(batch):
            return batch["x"][:, 0] * factor
        """)
    assert model.predict({"x": ROWS})["y"].tolist() == [7, 21, 35]


PICKY = """
    {word}def preprocess(item, ctx):
        if item["x"][0] < 0:
            raise ValueError("x must not be negative")
        if item["x"][0] > 100:
            raise KeyError("secret path /etc/passwd")
        if item["x"][0] == 77:
            raise Teapot()
        return {{"x": item["x"] * 2}}

    class Teapot(Exception):
        status_code = 418
        detail = "I'm a teapot"

    {word}def predict(batch, ctx):
        return {{"y": batch["x"].sum(axis=1)}}
"""


@pytest.mark.feature("item-errors")
@pytest.mark.parametrize("word", ["", "async "])
def test_a_bad_row_fails_alone_and_in_its_own_words(load: Load, word: str) -> None:
    model = load(PICKY.format(word=word))
    rows = np.array([[1, 1], [-1, 0], [2, 2], [101, 0], [77, 0]], np.float32)
    with pytest.raises(RowsFailedError) as raised:
        model.predict({"x": rows})
    error = raised.value
    assert error.rows[1] == RowError(400, "handler_rejected", "x must not be negative")
    assert error.rows[4] == RowError(418, "handler_rejected", "I'm a teapot")
    assert (error.rows[3].status, error.rows[3].code) == (500, "model_error")
    assert "secret" not in error.rows[3].message
    assert sorted(error.rows) == [1, 3, 4]
    assert error.outputs["y"][[0, 2]].tolist() == [4, 8]
    assert error.outputs["y"].shape == (5,)


def test_a_batch_of_bad_rows_has_no_outputs(load: Load) -> None:
    model = load(PICKY.format(word=""))
    with pytest.raises(RowsFailedError) as raised:
        model.predict({"x": -ROWS})
    assert (len(raised.value.rows), raised.value.outputs) == (3, {})
    assert (raised.value.status, raised.value.code) == (400, "handler_rejected")


def test_predict_may_answer_row_by_row_with_errors_among_them(load: Load) -> None:
    model = load("""
        from slipway.handler import RowError

        def predict(batch, ctx):
            large = RowError(422, "too_large", "x is too large")
            return [large if x[0] > 4 else {"y": float(x[1])} for x in batch["x"]]
        """)
    with pytest.raises(RowsFailedError) as raised:
        model.predict({"x": ROWS})
    assert raised.value.rows == {2: RowError(422, "too_large", "x is too large")}
    assert raised.value.outputs["y"][:2].tolist() == [2, 4]
    assert model.predict({"x": ROWS[:2]})["y"].tolist() == [2, 4]


def test_postprocess_fails_one_row_too(load: Load) -> None:
    model = load("""
        def predict(batch, ctx):
            return {"y": batch["x"][:, 0]}

        def postprocess(row, ctx):
            if row["y"] == 3:
                raise ValueError("three")
            return {"y": row["y"] + 1}
        """)
    with pytest.raises(RowsFailedError) as raised:
        model.predict({"x": ROWS})
    assert raised.value.rows == {1: RowError(400, "handler_rejected", "three")}
    assert raised.value.outputs["y"][[0, 2]].tolist() == [2, 6]


def test_rows_of_different_shapes_are_predicted_apart(load: Load) -> None:
    model = load("""
        import numpy as np

        def preprocess(item, ctx):
            return {"x": np.repeat(item["x"], int(item["x"][0]))}

        def predict(batch, ctx):
            return {"y": batch["x"].sum(axis=1)}
        """)
    assert model.predict({"x": np.array([[1, 1], [2, 1], [1, 3]], np.float32)})["y"].tolist() == [2, 6, 4]


def test_a_whole_batch_that_is_rejected_says_so(load: Load) -> None:
    model = load("def predict(batch, ctx):\n    raise ValueError('not these')\n")
    with pytest.raises(RejectedInputError, match=r"^not these$") as raised:
        model.predict({"x": ROWS})
    assert (raised.value.status, raised.value.code) == (400, "handler_rejected")


def test_the_text_of_a_fault_is_for_the_log_alone(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    model = load("def predict(batch, ctx):\n    return {'y': open('/secret/key').read()}\n")
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            with pytest.raises(PredictionError) as raised:
                model.predict({"x": ROWS})
    assert (raised.value.status, raised.value.code) == (500, "model_error")
    assert "secret" not in str(raised.value)
    assert "FileNotFoundError" in (raised.value.detail or "")
    assert "(handler.py, line 2)" in (raised.value.detail or "")
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3, "the first, the second and the fourth time"
    assert sum(record.exc_info is not None for record in caplog.records) == 1


@pytest.mark.parametrize("raised", ["MemoryError()", "RuntimeError('CUDA out of memory. Tried to allocate')"])
def test_a_lack_of_memory_is_told_apart(load: Load, raised: str) -> None:
    model = load(f"def predict(batch, ctx):\n    raise {raised}\n")
    with pytest.raises(DeviceMemoryError):
        model.predict({"x": ROWS})


@pytest.mark.parametrize(
    "raised",
    [
        "SystemExit(3)",
        "KeyboardInterrupt",
        "GeneratorExit",
        "asyncio.CancelledError",
        "type('E', (BaseException,), {})",
    ],
)
@pytest.mark.parametrize(
    "hook", ["def predict(batch, ctx)", "async def predict(batch, ctx)", "def preprocess(item, ctx)"]
)
def test_whatever_is_raised_is_a_fault_of_the_request(load: Load, hook: str, raised: str) -> None:
    rest = "" if "predict" in hook else "\ndef predict(batch, ctx):\n    return batch['x'][:, 0]\n"
    model = load(f"import asyncio\n{hook}:\n    raise {raised}\n{rest}")
    for _ in range(2):
        with pytest.raises(PredictionError):
            model.predict({"x": ROWS})


def test_one_line_that_fails_with_the_words_of_each_request_does_not_fill_the_log(
    load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    model = load("def predict(batch, ctx):\n    raise KeyError(float(batch['x'][0, 0]))\n")
    with caplog.at_level(logging.ERROR):
        for value in range(64):
            with pytest.raises(PredictionError):
                model.predict({"x": ROWS + value})
    assert len(caplog.records) == 7, "the first time, and whenever the count has doubled"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("{'y': batch['x'][:2, 0]}", "has 2 rows for a batch of 3"),
        ("{'y': batch['x']}", r"has the shape \[3, 2\], expected y FP32 \[-1\]"),
        ("{'z': batch['x'][:, 0]}", r"outputs \['z'\], without \['y'\]"),
        ("None", "gave a NoneType"),
        ("{'y': 1.5}", "is a single float"),
        ("{'y': ['a', 'b', 'c']}", "is BYTES, its signature says FP32"),
        ("{'y': [[1], [1, 2], [3]]}", "is no array"),
        ("{'y': [1j, 2j, 3j]}", "complex128, which the protocol cannot carry"),
        ("[{'y': 1.0}]", "gave 1 rows for a batch of 3"),
        ("[{'y': [1.0] * i} for i in range(3)]", "different shapes"),
        ("{'y': [object(), None, 2]}", "expected numbers, str or bytes"),
    ],
)
def test_an_answer_that_breaks_the_signature_is_named(load: Load, answer: str, expected: str) -> None:
    model = load(f"def predict(batch, ctx):\n    return {answer}\n")
    with pytest.raises(OutputError, match=expected):
        model.predict({"x": ROWS})


def test_answers_are_cast_where_nothing_is_lost(load: Load) -> None:
    model = load(
        """
        import torch

        def signature():
            return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
                    "outputs": [{"name": "small", "datatype": "UINT8", "shape": [-1]},
                                {"name": "brain", "datatype": "BF16", "shape": [-1]},
                                {"name": "rounded", "datatype": "BF16", "shape": [-1]},
                                {"name": "tensor", "datatype": "FP32", "shape": [-1, 2]}]}

        def predict(batch, ctx):
            x = torch.from_numpy(batch["x"]).requires_grad_()
            return {"small": [int(row[0]) for row in batch["x"]], "brain": x[:, 0].to(torch.bfloat16),
                    "rounded": batch["x"][:, 0].astype("float64"), "tensor": x * 2}
        """,
        signature=False,
    )
    answer = model.predict({"x": ROWS})
    assert (answer["small"].dtype, answer["small"].tolist()) == (np.uint8, [1, 3, 5])
    assert answer["brain"].tolist() == answer["rounded"].tolist() == [0x3F80, 0x4040, 0x40A0]
    np.testing.assert_array_equal(answer["tensor"], ROWS * 2)
    with pytest.raises(OutputError, match="'small' is INT64, its signature says UINT8"):
        model.predict({"x": ROWS * 200})


def test_outputs_are_learned_and_then_kept(load: Load) -> None:
    model = load(
        """
        def predict(batch, ctx):
            whole = bool((batch["x"] == batch["x"].astype(int)).all())
            y = [int(x) for x in batch["x"][:, 0]] if whole else batch["x"][:, 0]
            return {"y": y, "name": ["a"] * len(batch["x"])}
        """,
        sample(x=(Datatype.FP32, [-1, 2])),
        signature=False,
    )
    signature = warm_up_model(model, [])
    assert [(spec.datatype, spec.shape) for spec in signature.outputs] == [
        (Datatype.FP32, [-1]),
        (Datatype.BYTES, [-1]),
    ]
    assert model.predict({"x": ROWS})["y"].dtype == np.float32


def test_a_model_without_batches_is_one_item(load: Load) -> None:
    model = load(
        """
        def preprocess(item, ctx):
            return {"x": item["x"] + 1}

        def predict(batch, ctx):
            return {"total": batch["x"].sum()}
        """,
        sample(x=(Datatype.FP64, [3])),
        signature=False,
    )
    assert warm_up_model(model, []).outputs[0].shape == []
    assert model.predict({"x": np.ones(3)})["total"].item() == 6


def test_a_handler_that_writes_its_input_leaves_borrowed_memory_as_it_is(load: Load) -> None:
    model = load("def predict(batch, ctx):\n    batch['x'] *= 2\n    return {'y': batch['x'][:, 0]}\n")
    for _ in range(5):
        borrowed = ROWS.copy()
        assert model.predict({"x": borrowed})["y"].tolist() == [2, 6, 10]
        np.testing.assert_array_equal(borrowed, ROWS)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("True", None),
        ("None", None),
        ("'no disk'", "no disk"),
        ("False", "health() gave False"),
        ("1 / 0", "ZeroDivisionError: division by zero (handler.py, line 4)"),
    ],
)
def test_health_is_told_in_its_own_words(load: Load, said: str, expected: str | None) -> None:
    model = load(f"def predict(batch, ctx):\n    return batch['x'][:, 0]\ndef health():\n    return {said}\n")
    assert model.health() == expected


def test_a_deadline_that_has_passed_cancels(load: Load) -> None:
    model = load("def predict(batch, ctx):\n    return [float(ctx.cancelled)] * len(batch['x'])\n")
    assert model.predict({"x": ROWS})["y"].tolist() == [0, 0, 0]
    assert model.predict({"x": ROWS}, limit_seconds=-1)["y"].tolist() == [1, 1, 1]
