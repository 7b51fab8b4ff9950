"""Where the model runs, in how many processes and with how many threads each. Pure, and able to say why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Final

from slipway_runtime.contract import EngineConfig, EngineKind, Format
from slipway_runtime.engines.engine import LoadedModel

SMALL_BYTES: Final = 2**20
"""An artifact below this is likely to be faster than a hand-over to another process is worth."""
FAST_SECONDS: Final = 0.001
"""A model that takes longer for one row is better off in a worker: a hand-over is a small part of it, and the event
loop would be held too long."""
FEW_WORKERS: Final = 4
"""Up to so many CPUs each has a worker: on two, two workers with one thread answered 1.2 to 1.7 times as many rows as
one with two threads."""
SLICE_CPUS: Final = 4
"""Threads of one operation beyond this gain little; another worker gains more."""
MEMORY_SHARE: Final = 0.5
_WORKER_BYTES: Final = 400 * 2**20
"""Of the libraries in each process."""
_ARTIFACT_COPIES: Final = 2
"""Of the artifact's bytes: weights, and what running them takes."""


@dataclass(frozen=True)
class Situation:
    """What the choice hangs on, apart from the configuration."""

    format: Format
    """As found in the artifact."""
    artifact_bytes: int
    cpus: int
    gpus: Sequence[str] = ()
    """As CUDA_VISIBLE_DEVICES names them."""
    memory_bytes: int | None = None
    """Free; None when it is not known."""
    threads: int | None = None
    """OMP_NUM_THREADS where the container's environment sets it."""


@dataclass(frozen=True)
class EngineChoice:
    kind: EngineKind
    """Never `AUTO`."""
    workers: int
    """1 for the engine in the gateway's process."""
    threads: int
    """Of each worker."""
    reason: str
    """For people, in one sentence."""
    on_trial: bool = False
    """In-process because the artifact is small: to be confirmed by `confirm` once the model is measured."""
    gpus: Sequence[str] = ()

    def variables(self, number: int) -> dict[str, str]:
        """Environment of one worker: the libraries read it before their first operation."""
        threads = str(self.threads)
        chosen = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        if self.gpus:
            chosen["CUDA_VISIBLE_DEVICES"] = self.gpus[number % len(self.gpus)]
        return chosen

    def describe(self) -> str:
        """One line for the log."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        if self.kind is EngineKind.IN_PROCESS:
            return f"The model runs in this process with {threads}: {self.reason}"
        workers = f"{self.workers} worker process{'es' if self.workers > 1 else ''}"
        return f"The model runs in {workers} with {threads} each: {self.reason}"

    @property
    def properties(self) -> Mapping[str, str]:
        """For the model's metadata."""
        return {
            "engine": str(self.kind),
            "engine_workers": str(self.workers),
            "engine_threads": str(self.threads),
            "engine_reason": self.reason,
        }


def choose_engine(config: EngineConfig, situation: Situation) -> EngineChoice:
    kind, reason, on_trial = _kind(config, situation)
    if kind is EngineKind.IN_PROCESS:
        threads = config.threads or situation.threads or situation.cpus
        return EngineChoice(kind, 1, threads, reason, on_trial)
    workers = config.workers or _workers(situation)
    gpus = tuple(situation.gpus[:workers])
    return EngineChoice(kind, workers, config.threads or _threads(situation, workers), reason, gpus=gpus)


def confirm(choice: EngineChoice, config: EngineConfig, situation: Situation, facts: LoadedModel) -> EngineChoice:
    """The same choice, or workers when a trial in this process showed that the model is not for it."""
    if not choice.on_trial:
        return choice
    seconds = median(facts.points[min(facts.points)])
    if seconds <= FAST_SECONDS and facts.steady:
        return replace(
            choice, on_trial=False, reason=f"{choice.reason} It takes {1000 * seconds:.2f} ms for the smallest batch."
        )
    why = (
        f"the artifact is small, but it takes {1000 * seconds:.1f} ms for the smallest batch."
        if seconds > FAST_SECONDS
        else "the artifact is small and fast, but how long it takes may hang on what it is asked."
    )
    return in_workers(config, situation, why)


def in_workers(config: EngineConfig, situation: Situation, why: str) -> EngineChoice:
    """Whatever was configured."""
    return replace(choose_engine(config.model_copy(update={"kind": EngineKind.WORKER}), situation), reason=why)


def _kind(config: EngineConfig, situation: Situation) -> tuple[EngineKind, str, bool]:
    small = situation.artifact_bytes < SMALL_BYTES
    size = f"{situation.artifact_bytes / 2**10:.0f} KiB" if small else f"{situation.artifact_bytes / 2**20:.1f} MiB"
    if config.kind is not EngineKind.AUTO:
        return config.kind, f"engine.kind is {config.kind}.", False
    if situation.format is Format.PYTHON:
        return EngineKind.WORKER, "a Python handler may block, crash or leak, which must not hurt the gateway.", False
    if situation.gpus:
        return EngineKind.WORKER, "one for each GPU.", False
    if (config.workers or 1) > 1:
        return EngineKind.WORKER, f"engine.workers is {config.workers}.", False
    if small:
        return EngineKind.IN_PROCESS, f"the artifact has {size}, so a hand-over would cost more than its work.", True
    return EngineKind.WORKER, f"the artifact has {size}, so a hand-over is a small part of its work.", False


def _workers(situation: Situation) -> int:
    if situation.gpus:
        return len(situation.gpus)
    if situation.format is Format.PYTHON:
        return 1  # what its code loads and keeps is not known, and it may expect to be alone
    cpus = _model_cpus(situation)
    slices = max(min(cpus, FEW_WORKERS), cpus // SLICE_CPUS)
    if situation.memory_bytes is None:
        return slices
    each = _WORKER_BYTES + _ARTIFACT_COPIES * situation.artifact_bytes
    return max(1, min(slices, int(MEMORY_SHARE * situation.memory_bytes) // each))


def _threads(situation: Situation, workers: int) -> int:
    return situation.threads or max(1, _model_cpus(situation) // workers)


def _model_cpus(situation: Situation) -> int:
    """From three CPUs on one is left to the gateway, which otherwise waits for the model at the busiest time."""
    return situation.cpus - 1 if situation.cpus >= 3 else situation.cpus
