"""From a verified artifact to a warm model with its measured times. The same in the gateway and in a worker."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

from slipway_runtime.batching.sizes import PATIENCE, WarmUpPlan
from slipway_runtime.contract import BatchingMode, FailureReason, RuntimeConfig, Stage
from slipway_runtime.engines.engine import LoadedModel
from slipway_runtime.engines.memory import MemoryWatch
from slipway_runtime.engines.steadiness import is_steady
from slipway_runtime.failure import StartupError
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.load import load_model, warm_up_model
from slipway_runtime.models.model import DeviceMemoryError, Model, PredictionError
from slipway_runtime.models.signature import Signature
from slipway_runtime.models.tuning.choice import parse_choice
from slipway_runtime.models.warmup import make_inputs, plan_requests

_SETTLING_RUNS: Final = 2
"""Per size, not timed: compilers and allocators meet each new shape there."""
_TIMED_RUNS: Final = 8
_LOOKING_RUNS: Final = 2
"""Of a size that is only looked at."""
_SIZE_SECONDS: Final = 1.0
"""A size whose runs took this long together is known well enough."""
_BUDGET_SECONDS: Final = 10.0
_ODD_SIZE: Final = 3
"""Rows of a batch that no other dimension is likely to be equal to by its nature."""
_ASSUMED_SECONDS: Final = 0.01
"""Of one row, where a handler cannot be measured; the scheduler corrects it with the first answers."""

log = logging.getLogger(__name__)

Predict = Callable[[Mapping[str, Array]], object]
MakeInputs = Callable[[int], Mapping[str, Array]]


@dataclass(frozen=True)
class Loaded:
    """The model, to be used in the thread that loaded it, and what the dispatcher is told of it."""

    model: Model
    facts: LoadedModel


def load_and_profile(path: Path, config: RuntimeConfig, enter: Callable[[Stage], None]) -> Loaded:
    """Loads, warms up, measures. `enter` is called as a stage begins. Raises `StartupError`.

    To be called in the thread that will predict, because torch keeps settings per thread.
    """
    enter(Stage.LOAD)
    model = load_model(path, config.artifact.format, config.warmup_samples, config.tuning)
    enter(Stage.WARM_UP)
    signature = warm_up_model(model, config.warmup_samples)
    shapes = plan_requests(signature, config.warmup_samples or model.warmup_samples)[0]
    rows = {spec.name: shapes[spec.name][1:] if signature.batched else shapes[spec.name] for spec in signature.inputs}
    row_wise = signature.batched and _is_row_wise(model, signature, rows)
    choice = parse_choice(model.properties.get("variant"))
    plan = (
        make_plan(config, choice.from_rows if choice else 0)
        if row_wise
        else WarmUpPlan(1, budget_seconds=_BUDGET_SECONDS)
    )
    measure(plan, model.predict, lambda size: _inputs(model, signature, rows, size))
    log.info(
        "Measured the model",
        extra={
            "max_batch_size": plan.max_batch_size,
            "milliseconds": {size: round(1000 * min(runs), 3) for size, runs in plan.points.items()},
        },
    )
    facts = LoadedModel(
        format=model.format,
        device=model.device,
        signature=signature,
        points=plan.points,
        row_elements=float(max(1, sum(math.prod(shape) for shape in rows.values()))),
        bucket=tuple(tuple(rows[spec.name]) for spec in signature.inputs),
        max_batch_size=plan.max_batch_size,
        ceiling=plan.ceiling,
        row_wise=row_wise,
        steady=is_steady(path, model.format),
        properties=dict(model.properties),
    )
    return Loaded(model, facts)


def make_plan(config: RuntimeConfig, step: int = 0) -> WarmUpPlan:
    """From `step` rows on the model is run in another way; 0: in one way only."""
    batching = config.batching
    if batching.mode is BatchingMode.DISABLED:
        return WarmUpPlan(1, budget_seconds=_BUDGET_SECONDS)
    targets = [config.sla.p95_milliseconds, config.sla.p99_milliseconds]
    given = [milliseconds / 1000 for milliseconds in targets if milliseconds is not None]
    limit = min(given, default=PATIENCE * config.request_timeout_seconds)
    allowed = tuple(sorted(batching.allowed_batch_sizes))
    return WarmUpPlan(batching.max_batch_size, allowed, limit, _BUDGET_SECONDS, step=step)


def measure(plan: WarmUpPlan, predict: Predict, make_inputs: MakeInputs) -> None:
    """Takes every size of the plan as long as time and memory suffice; the first in any case. Raises `StartupError`
    when that one fails."""
    begun = perf_counter()
    memory = MemoryWatch()
    while (size := plan.next_size()) is not None:
        if plan.points and perf_counter() - begun > _BUDGET_SECONDS:
            break
        if plan.points and not memory.allows(size):
            log.info("A batch of %d would take more than half of the free memory, so it is not tried", size)
            plan.refuse(size)
            break
        try:
            timed = _LOOKING_RUNS if plan.looking else _TIMED_RUNS
            runs = _time_runs(predict, make_inputs(size), timed, _BUDGET_SECONDS - (perf_counter() - begun))
        except (PredictionError, MemoryError) as error:
            if not plan.points and _is_refusal(error):
                log.warning(
                    "The handler refuses generated values, so requests run alone; add example() to it: %s", error
                )
                plan.record(size, [_ASSUMED_SECONDS])
                plan.bound(size)
                break
            if not plan.points:
                raise _failed(size, error) from error
            log.warning("A batch of %d failed, so smaller ones are formed: %s", size, error)
            plan.refuse(size)
            break
        memory.ran(size)
        plan.record(size, runs)
    if plan.points:
        plan.bound(memory.room_rows(max(plan.points)))


def _is_row_wise(model: Model, signature: Signature, rows: Mapping[str, Sequence[int]]) -> bool:
    """Whether each row has its answer. Else, as for a model that sums over the batch, requests cannot share one."""
    try:
        outputs = model.predict(_inputs(model, signature, rows, _ODD_SIZE))
    except (PredictionError, MemoryError) as error:
        if _is_refusal(error):
            return all(spec.shape and spec.shape[0] == -1 for spec in signature.outputs)
        log.warning("A batch of %d failed, so every request runs alone: %s", _ODD_SIZE, error)
        return False
    shapes = {name: array.shape for name, array in outputs.items()}
    if all(shape and shape[0] == _ODD_SIZE for shape in shapes.values()):
        return True
    log.warning("The outputs of %d rows are %s, not row by row, so every request runs alone", _ODD_SIZE, shapes)
    return False


def _is_refusal(error: Exception) -> bool:
    """The model's own check did not take the values, which says nothing about real ones."""
    return isinstance(error, PredictionError) and error.status < 500


def _failed(size: int, error: Exception) -> StartupError:
    out_of_memory = isinstance(error, DeviceMemoryError | MemoryError)
    reason = FailureReason.OUT_OF_MEMORY if out_of_memory else FailureReason.WARM_UP_FAILED
    return StartupError(Stage.WARM_UP, reason, f"The model failed on a batch of {size} rows: {error}")


def _time_runs(predict: Predict, inputs: Mapping[str, Array], timed: int, seconds_left: float) -> Sequence[float]:
    """At least one run; the settling ones are left out as soon as there are others."""
    runs: list[float] = []
    spent = 0.0
    limit = min(_SIZE_SECONDS, max(0.0, seconds_left))
    while len(runs) < _SETTLING_RUNS + timed and (not runs or spent < limit):
        begun = perf_counter()
        predict(inputs)
        runs.append(perf_counter() - begun)
        spent += runs[-1]
    return runs[min(_SETTLING_RUNS, len(runs) - 1) :]


def _inputs(model: Model, signature: Signature, rows: Mapping[str, Sequence[int]], size: int) -> Mapping[str, Array]:
    shapes = {name: [size, *shape] if signature.batched else list(shape) for name, shape in rows.items()}
    return make_inputs(model, signature, shapes)
