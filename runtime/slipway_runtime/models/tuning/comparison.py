"""Whether two answers are the same but for rounding. Bounds follow the element type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from slipway_runtime.contract import Datatype
from slipway_runtime.models.bfloat16 import from_bits
from slipway_runtime.models.datatypes import Array, datatype_of

Datatypes = Mapping[str, Datatype]


@dataclass(frozen=True)
class Tolerance:
    """|actual - expected| <= relative * |expected| + scaled * (the largest |expected| of the output)."""

    relative: float
    scaled: float


TOLERANCES: Final[Mapping[Datatype, Tolerance]] = MappingProxyType(
    {
        Datatype.FP64: Tolerance(1e-7, 1e-9),
        Datatype.FP32: Tolerance(1e-3, 1e-5),
        Datatype.FP16: Tolerance(1e-2, 1e-3),
        Datatype.BF16: Tolerance(2e-2, 1e-2),
    }
)
REDUCED: Final = Tolerance(5e-2, 5e-2)
"""Of every float output where the user asked for BF16."""
REDUCED_MISMATCH: Final = 0.1
"""Share of an integer output, such as labels, that may then differ: near ties fall either way."""


def find_difference(
    expected: Mapping[str, Array],
    actual: Mapping[str, Array],
    told: tuple[Datatypes, Datatypes],
    *,
    reduced: bool = False,
) -> str | None:
    """What differs first, for a log; None when nothing does. `told` has the element types that arrays do not tell."""
    if list(expected) != list(actual):
        return f"gives the outputs {list(actual)} instead of {list(expected)}"
    for name, wanted in expected.items():
        given = actual[name]
        wanted_type, given_type = (
            types.get(name) or datatype_of(array) for types, array in zip(told, (wanted, given), strict=True)
        )
        if wanted_type != given_type or wanted.shape != given.shape:
            return f"gives {name} as {given_type} {list(given.shape)} instead of {wanted_type} {list(wanted.shape)}"
        worst = _compare(wanted, given, wanted_type, reduced)
        if worst is not None:
            return f"differs in {name} by {worst}"
    return None


def _compare(wanted: Array, given: Array, datatype: Datatype | None, reduced: bool) -> str | None:
    if datatype is None or datatype not in TOLERANCES:
        differing = float(np.mean(wanted != given)) if wanted.size else 0.0
        return f"{differing:.1%} of its elements" if differing > (REDUCED_MISMATCH if reduced else 0) else None
    if datatype is Datatype.BF16:
        wanted, given = from_bits(wanted), from_bits(given)
    tolerance = REDUCED if reduced else TOLERANCES[datatype]
    wide, other = wanted.astype(np.float64), given.astype(np.float64)
    finite = np.isfinite(wide)
    if not np.array_equal(wide[~finite], other[~finite], equal_nan=True) or not np.isfinite(other[finite]).all():
        return "where it is not finite"
    magnitude = np.abs(wide[finite])
    off = np.abs(wide[finite] - other[finite])
    allowed = tolerance.relative * magnitude + tolerance.scaled * magnitude.max(initial=0.0)
    return f"up to {off.max():.3g}" if (off > allowed).any() else None
