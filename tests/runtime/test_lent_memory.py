"""A handler is lent its inputs where the gateway wrote them. Whatever it does with them later, no row is another's."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from slipway_runtime.contract import ArtifactConfig, Format
from slipway_runtime.models.model import RejectedInputError, RowsFailedError
from tests.runtime.handlers import SIGNATURE
from tests.runtime.workers import Workers, open_descriptors, open_workers, shared_regions

pytestmark = pytest.mark.runtime

KEEPER = """
    import torch

    first, kept = {}, []

    def predict(batch, ctx):
        x = batch["x"]
        for earlier in kept:
            earlier[...] = -1
        del kept[:-3]
        code = int(x[0, 1])
        if code == 1:
            kept.append(x[:, 0])
        if code == 2:
            kept.append(torch.from_numpy(x))
        if code == 3:
            first.setdefault("batch", batch)
        if code == 4:
            return first["batch"]["x"][:, 0]
        if code == 5:
            kept.append(x)
            raise ValueError("no")
        return x[:, 0]
"""

FAILING = """
    def preprocess(item, ctx):
        if item["x"][1] == 1:
            raise ValueError("a bad row")
        return item

    def predict(batch, ctx):
        if (batch["x"][:, 1] == 2).any():
            raise ValueError("a bad batch")
        return batch["x"][:, 0]
"""


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Workers]:
    yield from serve(tmp_path, KEEPER)


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[Workers]:
    yield from serve(tmp_path, FAILING)


def serve(folder: Path, source: str) -> Iterator[Workers]:
    path = folder / "handler.py"
    path.write_text(textwrap.dedent(source) + SIGNATURE)
    with open_workers(path, artifact=ArtifactConfig(uri=f"file://{path}", format=Format.PYTHON)) as workers:
        # The first runs see copies in any case.
        for _ in range(4):
            assert workers.answer(batch(7)) == {"y": [7, 7, 7]}
        yield workers


def batch(value: float, code: int = 0) -> dict[str, np.ndarray]:
    return {"x": np.array([[value, code]] * 3, np.float32)}


@pytest.mark.feature("rows-never-mix")
@pytest.mark.parametrize("code", [1, 2, 5], ids=["a view", "a tensor", "the inputs of a failure"])
def test_what_a_handler_writes_into_inputs_of_earlier_calls_reaches_nobody(keeper: Workers, code: int) -> None:
    for value in range(100, 120):
        for inputs in (batch(value, code), batch(value)):
            execution = keeper.predict(inputs)
            if execution.error is None:
                assert execution.outputs is not None
                assert execution.outputs["y"].tolist() == [value] * 3
            else:
                assert inputs["x"][0, 1] == 5
            keeper.engine.release(execution)


def test_what_a_handler_remembers_of_its_inputs_stays_as_it_was(keeper: Workers) -> None:
    assert keeper.answer(batch(42, 3)) == {"y": [42, 42, 42]}
    for value in range(20):
        assert keeper.answer(batch(value)) == {"y": [value] * 3}
    assert keeper.answer(batch(1, 4)) == {"y": [42, 42, 42]}


def test_inputs_are_lent_as_long_as_nobody_keeps_them(failing: Workers) -> None:
    pid = failing.pids[0]
    failing.answer(batch(1))
    regions = shared_regions(pid)
    for value in range(20):
        failing.answer(batch(value))
    assert shared_regions(pid) == regions


@pytest.mark.parametrize(("code", "told"), [(1, RowsFailedError), (2, RejectedInputError)], ids=["rows", "batches"])
def test_failures_take_neither_memory_nor_descriptors_from_the_worker(
    failing: Workers, code: int, told: type[Exception]
) -> None:
    pid = failing.pids[0]
    regions, descriptors, memory = shared_regions(pid), open_descriptors(pid), failing.engine.shared_memory_bytes
    for value in range(50):
        execution = failing.predict(batch(value, code))
        assert isinstance(execution.error, told)
        failing.engine.release(execution)
    assert shared_regions(pid) <= regions + 4
    assert open_descriptors(pid) <= descriptors + 8
    assert failing.engine.shared_memory_bytes <= memory + 4 * 64 * 1024
