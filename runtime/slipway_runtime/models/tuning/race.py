"""Times of several models side by side: interleaved, so that a machine that becomes busy is so for all of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from statistics import median
from time import perf_counter, thread_time
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
_CROSSING_ROUNDS: Final = 3
_ROUND_SECONDS: Final = 0.004
"""A shorter run is repeated until it took this long."""
_LONGEST_ROUND_SECONDS: Final = 4 * _ROUND_SECONDS
"""It is not repeated any more when it took this long, as on a machine that just became busy."""
_LEAST_SECONDS: Final = 1e-6
"""No run is as short: a thread's own clock that says so stood still for a while, as on some virtual machines."""
_RACE_SECONDS: Final = 1.5
_LONGEST_RACE_SECONDS: Final = 5.0
_PATIENCE_SECONDS: Final = 20.0
"""By the clock on the wall, for all of it: on a busy machine a thread's own time stands still."""


Clock = Callable[[], float]


def clock_for(device: str, threads: int) -> Clock:
    """What a thread alone computes is told by its own CPU time, from which a busy machine takes nothing."""
    return thread_time if device == "cpu" and threads == 1 else perf_counter


def time_runs(model: Model, inputs: Inputs, count: int, clock: Clock) -> float:
    """Seconds of the quickest of up to `count` runs."""
    begun = last = clock()
    quickest = inf
    for _ in range(count):
        model.predict(inputs)
        now = clock()
        if _LEAST_SECONDS < now - last < quickest:
            quickest = now - last
        last = now
        if now - begun > _LONGEST_ROUND_SECONDS:
            break
    return quickest if quickest < inf else _LEAST_SECONDS


def settle(model: Model, inputs: Inputs, clock: Clock) -> float:
    """Seconds of the quickest run once it was run often enough to be as fast as it gets."""
    _run_in(model, inputs)
    return time_runs(model, inputs, _TIMED_RUNS, clock)


def _run_in(model: Model, inputs: Inputs) -> None:
    for _ in range(_SETTLING_RUNS):
        model.predict(inputs)


def race(
    archive: Model, rivals: Mapping[Variant, Model], requests: Sequence[Inputs], deadline_seconds: float, clock: Clock
) -> tuple[dict[Variant, Measured], dict[Variant, str]]:
    """Measured ratios, and why rivals that failed have none. `deadline_seconds` is of `perf_counter`.

    Of each round the quickest run counts, as a part of the archive's in the same round; of the rounds the middle one.
    """
    failed: dict[Variant, str] = {}
    begun = clock()
    deadline_seconds = min(deadline_seconds, perf_counter() + _PATIENCE_SECONDS)
    counts = [_settle_all(archive, rivals, inputs, failed, clock) for inputs in requests]
    runners = {variant: rival for variant, rival in rivals.items() if variant not in failed}
    ratios: dict[Variant, list[list[float]]] = {variant: [[] for _ in requests] for variant in runners}
    for done in range(_ROUNDS):
        seconds = clock() - begun
        if done and seconds > (_RACE_SECONDS if done >= _LEAST_ROUNDS else _LONGEST_RACE_SECONDS):
            break
        if done and perf_counter() > deadline_seconds:
            break
        for position, (inputs, count) in enumerate(zip(requests, counts, strict=True)):
            base = time_runs(archive, inputs, count, clock)
            for variant, rival in runners.items():
                ratios[variant][position].append(time_runs(rival, inputs, count, clock) / base)
    return {variant: Measured(*map(median, each)) for variant, each in ratios.items()}, failed


def find_crossing(lone: Model, many: Model, requests: Mapping[int, Inputs], last: int, clock: Clock) -> int:
    """The rows from which on `many` is the faster one, which it is at `last` rows. `requests` are of sizes between one
    row and `last`, ascending."""
    sizes = list(requests)
    position = bisect_left(sizes, True, key=lambda size: _is_faster(many, lone, requests[size], clock))
    return sizes[position] if position < len(sizes) else last


def _is_faster(model: Model, other: Model, inputs: Inputs, clock: Clock) -> bool:
    count = max(1, round(_ROUND_SECONDS / max(settle(model, inputs, clock), 1e-9)))
    _run_in(other, inputs)
    return median(_ratios(model, other, inputs, count, clock)) < 1


def _ratios(model: Model, other: Model, inputs: Inputs, count: int, clock: Clock) -> Iterator[float]:
    for _ in range(_CROSSING_ROUNDS):
        yield time_runs(model, inputs, count, clock) / time_runs(other, inputs, count, clock)


def _settle_all(
    archive: Model, rivals: Mapping[Variant, Model], inputs: Inputs, failed: dict[Variant, str], clock: Clock
) -> int:
    """How often a run is repeated within a round."""
    seconds = settle(archive, inputs, clock)
    for variant, rival in rivals.items():
        if variant in failed:
            continue
        try:
            _run_in(rival, inputs)
        except PredictionError as error:
            failed[variant] = f"fails: {error}"
    return max(1, round(_ROUND_SECONDS / max(seconds, 1e-9)))
