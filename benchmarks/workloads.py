"""What is asked of every server: three models, and how many inputs of each are sent in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DISTINCT_INPUTS: Final = 8
"""More than one, so that an answer to another request's input is seen to be wrong."""
INPUT: Final = "x"
OUTPUT: Final = "scores"


@dataclass(frozen=True)
class Workload:
    name: str
    title: str
    datatype: str
    row_shape: tuple[int, ...]
    tolerance: float
    """Between an answer and the eager module's, of values around one: other kernels sum in another order."""


WORKLOADS: Final = {
    workload.name: workload
    for workload in (
        Workload("mlp", "MLP 32 → 64 → 4", "FP32", (32,), 1e-4),
        Workload("cnn", "ResNet-18, image tensor 3x96x96", "FP32", (3, 96, 96), 2e-3),
        Workload("encoder", "6-layer encoder, width 256, 64 tokens", "INT64", (64,), 2e-3),
    )
}
