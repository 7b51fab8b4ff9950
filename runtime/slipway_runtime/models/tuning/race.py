"""Times of several models side by side: interleaved, so that a machine that slows down slows all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from time import perf_counter
from typing import Final

from slipway_runtime.models.model import Model, PredictionError
from slipway_runtime.models.tuning.choice import Measured, Variant
from slipway_runtime.models.tuning.trials import Inputs

_SETTLING_RUNS: Final = 3
"""torch profiles the first run and optimises the second."""
_ROUNDS: Final = 15
_LEAST_ROUNDS: Final = 3
_ROUND_SECONDS: Final = 0.004
"""A shorter run is repeated until it took this long."""
_RACE_SECONDS: Final = 1.5


def time_runs(model: Model, inputs: Inputs, count: int) -> float:
    """Seconds of one run, the mean of `count`."""
    begun = perf_counter()
    for _ in range(count):
        model.predict(inputs)
    return (perf_counter() - begun) / count


def settle(model: Model, inputs: Inputs) -> float:
    """Seconds of one run once it was run often enough to be as fast as it gets."""
    for _ in range(_SETTLING_RUNS):
        model.predict(inputs)
    return min(time_runs(model, inputs, 1) for _ in range(_SETTLING_RUNS))


def race(
    archive: Model, rivals: Mapping[Variant, Model], requests: Sequence[Inputs], deadline_seconds: float
) -> tuple[dict[Variant, Measured], dict[Variant, str]]:
    """Measured ratios, and why rivals that failed have none. `deadline_seconds` is of `perf_counter`."""
    ratios: dict[Variant, list[list[float]]] = {variant: [[] for _ in requests] for variant in rivals}
    failed: dict[Variant, str] = {}
    counts = [_settle_all(archive, rivals, inputs, failed) for inputs in requests]
    until = min(deadline_seconds, perf_counter() + _RACE_SECONDS)
    for done in range(_ROUNDS):
        if perf_counter() > until and (done >= _LEAST_ROUNDS or perf_counter() > deadline_seconds):
            break
        for position, inputs in enumerate(requests):
            base = time_runs(archive, inputs, counts[position])
            for variant, rival in rivals.items():
                if variant not in failed:
                    ratios[variant][position].append(time_runs(rival, inputs, counts[position]) / base)
    measured = {
        variant: Measured(*(median(one) for one in each))
        for variant, each in ratios.items()
        if variant not in failed and all(each)
    }
    return measured, failed


def _settle_all(archive: Model, rivals: Mapping[Variant, Model], inputs: Inputs, failed: dict[Variant, str]) -> int:
    """How often a run is repeated within a round."""
    seconds = settle(archive, inputs)
    for variant, rival in rivals.items():
        if variant in failed:
            continue
        try:
            settle(rival, inputs)
        except PredictionError as error:
            failed[variant] = f"fails: {error}"
    return max(1, round(_ROUND_SECONDS / max(seconds, 1e-9)))
