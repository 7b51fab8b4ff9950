"""From an archive to the fastest model that answers as it does: build, compare, race, keep one, free the others."""

from __future__ import annotations

import ctypes
import gc
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import Final

from slipway_runtime.contract import Datatype, TuningConfig, WarmupSample
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.model import PredictionError
from slipway_runtime.models.torchscript import TorchScriptModel
from slipway_runtime.models.tuning.choice import Measured, Variant, candidates, choose
from slipway_runtime.models.tuning.comparison import find_difference
from slipway_runtime.models.tuning.notes import Notes, describe_machine, open_notes
from slipway_runtime.models.tuning.onnxmodel import OnnxModel
from slipway_runtime.models.tuning.race import race, settle
from slipway_runtime.models.tuning.trials import FILLS, Inputs, Shapes, make_inputs, plan_shapes, with_rows
from slipway_runtime.models.tuning.variants import VariantError, build
from slipway_runtime.models.warmup import WarmUpError, plan_requests

_REPEATED_TRIALS: Final = 4
_LARGEST_BATCH: Final = 32
_LARGE_SECONDS: Final = 0.2
"""The larger batch is one that should take no longer than this."""

log = logging.getLogger(__name__)

Tuned = TorchScriptModel | OnnxModel


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
    rivals: dict[Variant, Tuned] = field(default_factory=dict)
    dropped: dict[Variant, str] = field(default_factory=dict)

    @property
    def out_of_time(self) -> bool:
        return perf_counter() > self.deadline_seconds

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
    known: Variant | None = None,
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
        return _settle_on(archive, Variant.AS_SAVED, variant_note=f"nothing else was tried: {error}")
    if trials is None:
        log.info("The model runs as it was saved: its answers to one request differ, so nothing can be compared")
        note = "nothing else was tried: answers to one request differ"
        return _settle_on(archive, Variant.AS_SAVED, variant_note=note)
    notes = Notes(None) if known is not None else open_notes(path, _circumstances(archive, config))
    search = _Search(archive, trials, begun + config.time_limit_seconds, notes)
    known = known or notes.chosen
    if known is not None:
        return _rebuild(search, known)
    seconds = settle(archive, trials[0].inputs)
    requests = _timed_requests(archive, trials[0], seconds)
    for variant in candidates(seconds, config.precision):
        search.enter(variant)
    measured, failed = race(archive, search.rivals, requests, search.deadline_seconds)
    search.dropped |= failed
    chosen = choose(measured)
    notes.choose(chosen)
    return _conclude(search, chosen, measured, perf_counter() - begun)


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


def _timed_requests(archive: TorchScriptModel, trial: Trial, seconds: float) -> list[Inputs]:
    """The first request, which takes `seconds`, and, where there is a batch, a larger one."""
    signature = archive.signature
    requests = [trial.inputs]
    if signature.batched:
        size = _LARGEST_BATCH
        while size > 1 and size * seconds > _LARGE_SECONDS:
            size //= 2
        shapes: Shapes = {name: array.shape for name, array in trial.inputs.items()}
        larger = make_inputs(signature, with_rows(shapes, size), FILLS[0])
        with suppress(PredictionError):
            archive.predict(larger)
            requests.append(larger)
    return requests


def _rebuild(search: _Search, known: Variant) -> Tuned:
    if known is not Variant.AS_SAVED:
        search.enter(known)
    if known in search.rivals:
        return _settle_on(search.rivals[known], known, variant_note="chosen before")
    if known in search.dropped:
        log.warning("%s was chosen before and is not used now: %s", known, search.dropped[known])
        note = f"{known} was chosen before and is not used now: {search.dropped[known]}"
        return _settle_on(search.archive, Variant.AS_SAVED, variant_note=note)
    return _settle_on(search.archive, Variant.AS_SAVED, variant_note="chosen before")


def _conclude(search: _Search, chosen: Variant, measured: dict[Variant, Measured], seconds: float) -> Tuned:
    tried = [f"{variant} {one}" for variant, one in measured.items()]
    tried += [f"{variant} dropped ({reason})" for variant, reason in search.dropped.items()]
    log.info(
        "The model runs as %s; seconds as parts of the archive's: %s",
        chosen,
        "; ".join(tried) or "nothing else was tried",
        extra={"variant": chosen, "tuning_seconds": round(seconds, 2)},
    )
    model = search.archive if chosen is Variant.AS_SAVED else search.rivals[chosen]
    properties = {"variants_tried": "; ".join(tried), "tuning_seconds": f"{seconds:.2f}"}
    if chosen in measured:
        properties["variant_time_ratio"] = str(measured[chosen])
    return _settle_on(model, chosen, **properties)


def _settle_on(model: Tuned, variant: Variant, **properties: str) -> Tuned:
    model.properties = MappingProxyType({"variant": str(variant), **properties})
    return model


def release_memory() -> None:
    """Gives back what the losers took. To be called once nothing refers to them any more."""
    gc.collect()
    with suppress(OSError, AttributeError):  # other C libraries than glibc do without
        ctypes.CDLL("libc.so.6").malloc_trim(0)
