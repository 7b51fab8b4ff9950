"""The engine in the gateway's process, with a model that takes as long as it is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import replace
from time import thread_time
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from slipway_runtime.engines.engine import Execution, WorkerHungError
from slipway_runtime.engines.inprocess import InProcessEngine, runs_inline
from slipway_runtime.engines.loading import Loaded
from slipway_runtime.engines.modelthread import ModelThread
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.model import DeviceMemoryError, Model, PredictionError
from tests.unit.rt.dispatch.scripted import FACTS, until

pytestmark = pytest.mark.unit

FAST = replace(FACTS, points={1: (0.0001,)})
SLOW = replace(FACTS, points={1: (0.1,)})


class Worked:
    """Doubles, after `work` was done, and knows where it ran."""

    def __init__(self, work: Any = lambda: None) -> None:
        self._work = work
        self.threads: list[str] = []

    def predict(self, inputs: Mapping[str, Array], limit_seconds: float | None = None) -> dict[str, Array]:
        self.threads.append(threading.current_thread().name)
        self._work()
        return {"y": inputs["x"] * 2}

    def close(self) -> None:
        self.threads.append("closed")


def make(model: Worked, facts: Any = FAST) -> InProcessEngine:
    return InProcessEngine(Loaded(cast(Model, model), facts), ModelThread())


async def run(engine: InProcessEngine, limit_seconds: float = 30.0) -> Execution:
    done: list[Execution] = []
    engine.start(Execution({"x": np.arange(4)}, done.append, limit_seconds))
    await until(lambda: bool(done))
    return done[0]


def test_a_small_steady_model_runs_in_the_loop() -> None:
    assert runs_inline(FAST)
    assert not runs_inline(SLOW)
    assert not runs_inline(replace(FAST, steady=False))
    assert not runs_inline(replace(FAST, device="cuda"))


def test_in_the_loop_the_answer_is_there_when_start_returns() -> None:
    async def scenario() -> None:
        model = Worked()
        engine = make(model)
        done: list[Execution] = []
        engine.start(Execution({"x": np.arange(4)}, done.append))
        assert done[0].outputs is not None
        assert done[0].outputs["y"].tolist() == [0, 2, 4, 6]
        assert model.threads == [threading.current_thread().name]
        assert engine.available == 1

    asyncio.run(scenario())


def test_a_model_that_computed_too_long_in_the_loop_is_moved_to_a_thread(caplog: pytest.LogCaptureFixture) -> None:
    def compute() -> None:
        end = thread_time() + 0.03
        while thread_time() < end:
            pass

    async def scenario() -> None:
        model = Worked(compute)
        engine = make(model)
        await run(engine)
        assert not engine.inline
        await run(engine)
        assert model.threads == [threading.current_thread().name, "model"]

    asyncio.run(scenario())
    assert "held the event loop" in caplog.text


@pytest.mark.feature("rows-never-mix")
def test_an_answer_is_not_what_the_model_writes_its_next_answer_into() -> None:
    answer = np.zeros(4, np.int64)

    class Reusing(Worked):
        def predict(self, inputs: Mapping[str, Array], limit_seconds: float | None = None) -> dict[str, Array]:
            np.multiply(inputs["x"], len(self.threads), out=answer)
            self.threads.append("")
            return {"y": answer}

    async def scenario() -> None:
        engine = make(Reusing(), SLOW)
        first, second = await run(engine), await run(engine)
        assert first.outputs is not None
        assert second.outputs is not None
        assert first.outputs["y"].tolist() == [0, 0, 0, 0]
        assert second.outputs["y"].tolist() == [0, 1, 2, 3]

    asyncio.run(scenario())


def test_a_slow_model_runs_in_its_thread_while_the_loop_goes_on() -> None:
    async def scenario() -> None:
        begun, go_on = threading.Event(), threading.Event()

        def wait() -> None:
            begun.set()
            go_on.wait(20)

        engine = make(Worked(wait), SLOW)
        done: list[Execution] = []
        engine.start(Execution({"x": np.arange(4)}, done.append))
        await until(begun.is_set)
        assert engine.available == 0
        go_on.set()
        await until(lambda: bool(done))
        assert done[0].error is None
        assert engine.available == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("raised", "kind"), [(PredictionError("no"), PredictionError), (MemoryError(), DeviceMemoryError)]
)
def test_what_the_model_raises_is_told(raised: Exception, kind: type[PredictionError]) -> None:
    def fail() -> None:
        raise raised

    async def scenario() -> None:
        execution = await run(make(Worked(fail), SLOW))
        assert type(execution.error) is kind

    asyncio.run(scenario())


def test_what_a_model_should_not_raise_is_logged_and_told_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        execution = await run(make(Worked(lambda: {}["missing"])))
        assert str(execution.error) == "KeyError: 'missing'"

    asyncio.run(scenario())
    assert "Traceback" in caplog.text


def test_a_model_that_hangs_is_given_up_and_lost_until_it_comes_back() -> None:
    async def scenario() -> None:
        go_on = threading.Event()
        engine = make(Worked(lambda: go_on.wait(20)), SLOW)
        back = SimpleNamespace(called=False)
        engine.on_available(lambda: setattr(back, "called", True))
        execution = await run(engine, limit_seconds=0.05)
        assert isinstance(execution.error, WorkerHungError)
        assert not engine.alive
        assert engine.available == 0
        assert engine.failure
        go_on.set()
        await until(lambda: bool(back.called))
        assert engine.alive
        assert engine.available == 1

    asyncio.run(scenario())


def test_closing_runs_the_models_own_teardown() -> None:
    async def scenario() -> None:
        model = Worked()
        engine = make(model)
        await engine.close()
        assert model.threads == ["closed"]
        assert engine.available == 0

    asyncio.run(scenario())
