"""Which variant is used, or which two: ratios of measured times in, names out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from slipway_runtime.contract import Precision

_TINY_SECONDS: Final = 0.0002
"""A model this quick has nothing that could be fused or computed in another precision: its time goes into calls."""
MINIMAL_GAIN: Final = 1.05
"""How many times faster than the archive a variant must be, in the geometric mean, to be worth its memory and risk."""
WORST_RATIO: Final = 1.1
"""No variant is taken alone that is slower than this at either batch size, however fast at the other."""
_PAIR: Final = re.compile(r"(?P<lone>\w+), (?P<many>\w+) from (?P<from_rows>[1-9]\d*) rows")


class Variant(StrEnum):
    """A way to run an archive."""

    AS_SAVED = "TorchScript"
    FROZEN = "FrozenTorchScript"
    """Weights become constants, so that torch can fold and fuse."""
    OPTIMIZED = "OptimizedTorchScript"
    """Frozen, and rewritten for the device by torch's own passes."""
    ONNX_RUNTIME = "ONNXRuntime"
    """The archive's graph in the other runtime."""
    BF16_AUTOCAST = "BF16Autocast"
    """Heavy operations in BF16; weights as they are."""
    BF16_WEIGHTS = "BF16Weights"
    """Everything in BF16."""

    @property
    def loses_precision(self) -> bool:
        return self in (Variant.BF16_AUTOCAST, Variant.BF16_WEIGHTS)


def candidates(seconds: float, precision: Precision) -> Sequence[Variant]:
    """What is worth building for an archive whose quickest run of the smallest request takes so long."""
    if seconds < _TINY_SECONDS:
        return (Variant.FROZEN, Variant.ONNX_RUNTIME)
    exact = (Variant.FROZEN, Variant.OPTIMIZED, Variant.ONNX_RUNTIME)
    return (*exact, Variant.BF16_AUTOCAST, Variant.BF16_WEIGHTS) if precision is Precision.BF16 else exact


@dataclass(frozen=True)
class Choice:
    """One variant for every batch, or one for small batches and one for larger ones."""

    lone: Variant
    many: Variant | None = None
    """For batches of at least `from_rows`; None: there is no second one."""
    from_rows: int = 0

    @property
    def variants(self) -> Sequence[Variant]:
        return [self.lone] if self.many is None else [self.lone, self.many]

    def __str__(self) -> str:
        return str(self.lone) if self.many is None else f"{self.lone}, {self.many} from {self.from_rows} rows"


def parse_choice(text: str | None) -> Choice | None:
    """Of what `str` gave. None for what is no choice here, for example one that another version made."""
    pair = _PAIR.fullmatch(text or "")
    if pair is None:
        alone = _parse_variant(text)
        return None if alone is None else Choice(alone)
    lone, many = _parse_variant(pair["lone"]), _parse_variant(pair["many"])
    return None if lone is None or many is None else Choice(lone, many, int(pair["from_rows"]))


def _parse_variant(name: str | None) -> Variant | None:
    return next((variant for variant in Variant if variant == name), None)


@dataclass(frozen=True)
class Measured:
    """The runs of a variant as parts of the archive's."""

    latency_ratio: float
    """At the smallest request."""
    throughput_ratio: float | None = None
    """Seconds at the larger batch; None for a model without batches."""

    @property
    def ratios(self) -> Sequence[float]:
        return [self.latency_ratio] if self.throughput_ratio is None else [self.latency_ratio, self.throughput_ratio]

    @property
    def score(self) -> float:
        return math.prod(self.ratios) ** (1 / len(self.ratios))

    def __str__(self) -> str:
        return "/".join(f"{ratio:.2f}" for ratio in self.ratios)


def choose(measured: Mapping[Variant, Measured]) -> Variant:
    """The least score that is low enough, or the archive as it is."""
    eligible = {
        variant: one.score
        for variant, one in measured.items()
        if one.score <= 1 / MINIMAL_GAIN and max(one.ratios) <= WORST_RATIO
    }
    return min(eligible, key=lambda variant: eligible[variant], default=Variant.AS_SAVED)


def choose_pair(measured: Mapping[Variant, Measured], alone: Variant) -> tuple[Variant, Variant] | None:
    """The fastest at one row and the fastest at the larger batch, where `alone`, the best for both, leaves enough to be
    gained at one of them; None otherwise."""
    known = {Variant.AS_SAVED: Measured(1.0, 1.0)}
    known |= {variant: one for variant, one in measured.items() if one.throughput_ratio is not None}
    lone = min(known, key=lambda variant: known[variant].latency_ratio)
    many = min(known, key=lambda variant: known[variant].throughput_ratio or math.inf)
    if lone is many or alone not in known:
        return None
    best = known[lone].latency_ratio, known[many].throughput_ratio or math.inf
    gains = [theirs / ours for theirs, ours in zip(known[alone].ratios, best, strict=True)]
    return (lone, many) if max(gains) >= MINIMAL_GAIN else None


def combine(choice: Choice, measured: Mapping[Variant, Measured]) -> Measured | None:
    """What a choice takes: of two variants, each at its size. None for the archive by itself."""
    if choice == Choice(Variant.AS_SAVED):
        return None
    known = {Variant.AS_SAVED: Measured(1.0, 1.0), **measured}
    if choice.many is None:
        return known[choice.lone]
    return Measured(known[choice.lone].latency_ratio, known[choice.many].throughput_ratio)
