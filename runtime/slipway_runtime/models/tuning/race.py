"""Times of several models side by side: interleaved, so that a machine that becomes busy is so for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from time import perf_counter
from typing import Final

from slipway_runtime.models.model import Model, PredictionError
from slipway_runtime.models.tuning.choice import Measured, Variant
from slipway_runtime.models.tuning.trials import Inputs

_SETTLING_RUNS: Final = 3
"""torch profiles the first run and optimises the second."""
_TIMED_RUNS: Final = 50
"""Or as many as fit into a long round: on a busy machine some of so many are not interrupted."""
_ROUNDS: Final = 15
_LEAST_ROUNDS: Final = 3
_ROUND_SECONDS: Final = 0.004
"""A shorter run is repeated until it took this long."""
_LONGEST_ROUND_SECONDS: Final = 4 * _ROUND_SECONDS
"""It is not repeated any more when it took this long, as on a machine that just became busy."""
_RACE_SECONDS: Final = 1.5
_LONGEST_RACE_SECONDS: Final = 5.0


def time_runs(model: Model, inputs: Inputs, count: int) -> float:
    """Seconds of the quickest of up to `count` runs."""
    begun = last = perf_counter()
    quickest = inf
    for _ in range(count):
        model.predict(inputs)
        now = perf_counter()
        quickest = min(quickest, now - last)
        last = now
        if now - begun > _LONGEST_ROUND_SECONDS:
            break
    return quickest


def settle(model: Model, inputs: Inputs) -> float:
    """Seconds of the quickest run once it was run often enough to be as fast as it gets."""
    for _ in range(_SETTLING_RUNS):
        model.predict(inputs)
    return time_runs(model, inputs, _TIMED_RUNS)


def race(
    archive: Model, rivals: Mapping[Variant, Model], requests: Sequence[Inputs], deadline_seconds: float
) -> tuple[dict[Variant, Measured], dict[Variant, str]]:
    """Measured ratios, and why rivals that failed have none. `deadline_seconds` is of `perf_counter`.

    What counts is the quickest run of each: everything else that a busy machine does only makes runs longer.
    """
    failed: dict[Variant, str] = {}
    begun = perf_counter()
    counts = [_settle_all(archive, rivals, inputs, failed) for inputs in requests]
    runners = {variant: rival for variant, rival in rivals.items() if variant not in failed}
    base = [inf for _ in requests]
    quickest = {variant: list(base) for variant in runners}
    for done in range(_ROUNDS):
        seconds = perf_counter() - begun
        if done and seconds > (_RACE_SECONDS if done >= _LEAST_ROUNDS else _LONGEST_RACE_SECONDS):
            break
        if done and perf_counter() > deadline_seconds:
            break
        for position, (inputs, count) in enumerate(zip(requests, counts, strict=True)):
            base[position] = min(base[position], time_runs(archive, inputs, count))
            for variant, rival in runners.items():
                quickest[variant][position] = min(quickest[variant][position], time_runs(rival, inputs, count))
    ratios = {
        variant: [mine / theirs for mine, theirs in zip(each, base, strict=True)] for variant, each in quickest.items()
    }
    return {variant: Measured(*each) for variant, each in ratios.items()}, failed


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
