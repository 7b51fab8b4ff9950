"""From an archive to the fastest model that answers as it does: build, compare, race, keep one or two."""

from __future__ import annotations

import ctypes
import gc
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import Final

from slipway_runtime.contract import Datatype, TuningConfig, WarmupSample
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.model import PredictionError
from slipway_runtime.models.signature import Signature
from slipway_runtime.models.torchscript import TorchScriptModel
from slipway_runtime.models.tuning.choice import Choice, Measured, Variant, candidates, choose, choose_pair, combine
from slipway_runtime.models.tuning.comparison import find_difference
from slipway_runtime.models.tuning.notes import Notes, describe_machine, open_notes
from slipway_runtime.models.tuning.race import Clock, clock_for, find_crossing, race, settle, time_runs
from slipway_runtime.models.tuning.switching import OneForm, SwitchingModel
from slipway_runtime.models.tuning.trials import FILLS, Inputs, Shapes, make_inputs, plan_shapes, with_rows
from slipway_runtime.models.tuning.variants import VariantError, build
from slipway_runtime.models.warmup import WarmUpError, plan_requests

_REPEATED_TRIALS: Final = 4
_LARGEST_BATCH: Final = 32
_LARGE_SECONDS: Final = 0.2
"""The larger batch is one that should take the archive no longer than this."""
_PAIRED_SECONDS: Final = 0.005
"""Of one row. What is quicker may become quick enough for the gateway's process, which does without torch then."""
_PAIRED_BYTES: Final = 128 * 2**20
"""Of the artifact: larger weights are not kept twice."""

_AS_SAVED: Final = Choice(Variant.AS_SAVED)

log = logging.getLogger(__name__)

Tuned = OneForm | SwitchingModel


@dataclass(frozen=True)
class Trial:
    """A request, and what the archive answers."""

    inputs: Inputs
    outputs: dict[str, Array]
    datatypes: dict[str, Datatype]


@dataclass
class _Search:
    """What is known so far."""

    archive: TorchScriptModel
    trials: Sequence[Trial]
    deadline_seconds: float
    notes: Notes
    rivals: dict[Variant, OneForm] = field(default_factory=dict)
    dropped: dict[Variant, str] = field(default_factory=dict)

    @property
    def out_of_time(self) -> bool:
        return perf_counter() > self.deadline_seconds

    def form(self, variant: Variant) -> OneForm:
        """One that was not dropped."""
        return self.archive if variant is Variant.AS_SAVED else self.rivals[variant]

    def assemble(self, choice: Choice) -> Tuned:
        lone = self.form(choice.lone)
        return lone if choice.many is None else SwitchingModel(lone, self.form(choice.many), choice.from_rows)

    def enter(self, variant: Variant) -> None:
        if self.out_of_time:
            self.dropped[variant] = "no time was left"
            return
        if self.notes.is_fatal(variant):
            self.dropped[variant] = "it ended the process twice before"
            return
        self.notes.begin(variant)
        self._build(variant)
        self.notes.end()

    def _build(self, variant: Variant) -> None:
        try:
            rival = build(variant, self.archive, self.trials[0].inputs, self.trials[0].outputs)
        except VariantError as error:
            self.dropped[variant] = str(error)
            return
        wrong = _find_fault(rival, self.trials, variant.loses_precision)
        if wrong:
            self.dropped[variant] = wrong
        else:
            self.rivals[variant] = rival


def tune(
    archive: TorchScriptModel,
    samples: Sequence[WarmupSample],
    config: TuningConfig,
    *,
    path: Path,
    known: Choice | None = None,
) -> Tuned:
    """The model to use, with `properties` that tell the choice. `known` is built, compared and not timed; so is what an
    earlier start chose for the artifact at `path`.

    The time limit is looked at between steps: a step that was begun is finished. Never fails: whatever goes wrong, the
    archive as it is remains.
    """
    begun = perf_counter()
    try:
        trials = _ask(archive, samples)
    except (PredictionError, WarmUpError) as error:
        # The warm-up ends the start with the same error and says it better.
        return _settle_on(archive, _AS_SAVED, variant_note=f"nothing else was tried: {error}")
    if trials is None:
        log.info("The model runs as it was saved: its answers to one request differ, so nothing can be compared")
        note = "nothing else was tried: answers to one request differ"
        return _settle_on(archive, _AS_SAVED, variant_note=note)
    notes = Notes(None) if known is not None else open_notes(path, _circumstances(archive, config))
    search = _Search(archive, trials, begun + config.time_limit_seconds, notes)
    known = known or notes.chosen
    if known is not None:
        return _rebuild(search, known)
    clock = clock_for(archive.device, archive.threads)
    seconds = settle(archive, trials[0].inputs, clock)
    requests = _timed_requests(archive, trials[0], seconds, clock)
    for variant in candidates(seconds, config.precision):
        search.enter(variant)
    measured, failed = race(archive, search.rivals, list(requests.values()), search.deadline_seconds, clock)
    search.dropped |= failed
    chosen = Choice(choose(measured))
    if seconds >= _PAIRED_SECONDS and path.stat().st_size <= _PAIRED_BYTES:
        chosen = _pair(search, measured, chosen, requests, clock)
    notes.choose(chosen)
    return _conclude(search, chosen, measured, perf_counter() - begun)


def _pair(
    search: _Search, measured: Mapping[Variant, Measured], alone: Choice, requests: Mapping[int, Inputs], clock: Clock
) -> Choice:
    """Two variants and where one takes over from the other, if they are worth it; else `alone`."""
    pair = choose_pair(measured, alone.lone)
    if pair is None:
        return alone
    lone, many = (search.form(variant) for variant in pair)
    first, last = min(requests), max(requests)
    if search.out_of_time:
        return Choice(*pair, from_rows=last)  # where it was seen to be the faster one
    sizes = [first << step for step in range(1, last.bit_length()) if first << step < last]
    shapes: Shapes = {name: array.shape for name, array in requests[first].items()}
    between = {size: make_inputs(search.archive.signature, with_rows(shapes, size), FILLS[0]) for size in sizes}
    try:
        return Choice(*pair, from_rows=find_crossing(lone, many, between, last, clock))
    except PredictionError as error:
        log.info("%s and %s are not used together: %s", *pair, error)
        return alone


def _circumstances(archive: TorchScriptModel, config: TuningConfig) -> dict[str, str]:
    settings = {"device": archive.device_name, "threads": str(archive.threads), "precision": str(config.precision)}
    return describe_machine() | settings


def _ask(archive: TorchScriptModel, samples: Sequence[WarmupSample]) -> list[Trial] | None:
    """None when the archive does not repeat itself. Raises what the first request raises; others it may refuse."""
    signature = archive.signature
    shapes = list(plan_shapes(signature, plan_requests(signature, samples or archive.warmup_samples)))
    first = make_inputs(signature, shapes[0], FILLS[0])
    answers = [_try(archive, first) for _ in range(2)]
    if find_difference(answers[0].outputs, answers[1].outputs, (answers[0].datatypes, answers[1].datatypes)):
        return None
    trials = [answers[0]]
    for seed, shape in enumerate(shapes):
        for fill in FILLS:
            # A size or a value that the archive refuses proves nothing about a variant.
            with suppress(PredictionError):
                trials.append(_try(archive, make_inputs(signature, shape, fill, seed + 1)))
    return trials


def _try(archive: TorchScriptModel, inputs: Inputs) -> Trial:
    outputs = archive.predict(inputs)
    return Trial(inputs, outputs, dict(archive.output_datatypes))


def _find_fault(rival: Tuned, trials: Sequence[Trial], reduced: bool) -> str | None:
    """The first ones twice, because torch's second run of a shape is another program than its first."""
    for trial in (*trials, *trials[:_REPEATED_TRIALS]):
        try:
            outputs = rival.predict(trial.inputs)
        except PredictionError as error:
            return f"fails where the archive answers: {error}"
        told = (trial.datatypes, rival.output_datatypes)
        difference = find_difference(trial.outputs, outputs, told, reduced=reduced)
        if difference:
            return difference
    return None


def _timed_requests(archive: TorchScriptModel, trial: Trial, seconds: float, clock: Clock) -> dict[int, Inputs]:
    """By their rows: the first request, which takes `seconds`, and, where there is a batch, the largest that time
    allows."""
    signature = archive.signature
    size = _rows(signature, trial.inputs)
    requests = {size: trial.inputs}
    if not signature.batched:
        return requests
    shapes: Shapes = {name: array.shape for name, array in trial.inputs.items()}
    larger: dict[int, Inputs] = {}
    with suppress(PredictionError):
        while size < _LARGEST_BATCH and 2 * seconds <= _LARGE_SECONDS:
            size *= 2
            inputs = make_inputs(signature, with_rows(shapes, size), FILLS[0])
            archive.predict(inputs)
            seconds = time_runs(archive, inputs, 1, clock)
            larger = {size: inputs}
    return requests | larger


def _rows(signature: Signature, inputs: Inputs) -> int:
    """1 for a model without batches."""
    return len(inputs[signature.inputs[0].name]) if signature.batched else 1


def _rebuild(search: _Search, known: Choice) -> Tuned:
    for variant in known.variants:
        if variant is not Variant.AS_SAVED:
            search.enter(variant)
    reasons = [f"{variant}: {search.dropped[variant]}" for variant in known.variants if variant in search.dropped]
    if not reasons:
        return _settle_on(search.assemble(known), known, variant_note="chosen before")
    note = f"{known} was chosen before and is not used now: {'; '.join(reasons)}"
    log.warning(note)
    return _settle_on(search.archive, _AS_SAVED, variant_note=note)


def _conclude(search: _Search, chosen: Choice, measured: Mapping[Variant, Measured], seconds: float) -> Tuned:
    tried = [f"{variant} {one}" for variant, one in measured.items()]
    tried += [f"{variant} dropped ({reason})" for variant, reason in search.dropped.items()]
    log.info(
        "The model runs as %s; seconds as parts of the archive's: %s",
        chosen,
        "; ".join(tried) or "nothing else was tried",
        extra={"variant": str(chosen), "tuning_seconds": round(seconds, 2)},
    )
    properties = {"variants_tried": "; ".join(tried), "tuning_seconds": f"{seconds:.2f}"}
    ratio = combine(chosen, measured)
    if ratio is not None:
        properties["variant_time_ratio"] = str(ratio)
    if chosen.many is not None:
        properties["variant_note"] = "two forms of the model are kept in memory"
    return _settle_on(search.assemble(chosen), chosen, **properties)


def _settle_on(model: Tuned, choice: Choice, **properties: str) -> Tuned:
    model.properties = MappingProxyType({"variant": str(choice), **properties})
    return model


def release_memory() -> None:
    """Gives back what the losers took. To be called once nothing refers to them any more."""
    gc.collect()
    with suppress(OSError, AttributeError):  # other C libraries than glibc do without
        ctypes.CDLL("libc.so.6").malloc_trim(0)
