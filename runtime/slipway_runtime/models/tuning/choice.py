"""Which variant is used: ratios of measured times in, a name out."""

from __future__ import annotations

import math
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
"""No variant is taken that is slower than this at either batch size, however fast at the other."""


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


def parse_variant(name: str | None) -> Variant | None:
    """None for what is no variant here, for example one that another version chose."""
    return next((variant for variant in Variant if variant == name), None)


@dataclass(frozen=True)
class Measured:
    """The quickest runs of a variant as parts of the archive's."""

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
