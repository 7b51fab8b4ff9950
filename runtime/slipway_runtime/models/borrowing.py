"""Inputs are borrowed: whether a model leaves them as they are is found out on copies before it is trusted."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from typing import Final

import numpy as np

from slipway_runtime.models.datatypes import Array

_WATCHED_RUNS: Final = 3
_OWN_REFERENCES: Final = 3


class Borrower:
    """Gives a model its inputs: copies in the first runs, and for good when one of those was changed."""

    def __init__(self) -> None:
        self._watched = 0
        self._writes = False

    def take(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """To be followed by `look` when the run succeeded."""
        if self._watched >= _WATCHED_RUNS and not self._writes:
            return inputs
        return {name: array.copy() for name, array in inputs.items()}

    def look(self, taken: Mapping[str, Array], inputs: Mapping[str, Array]) -> None:
        if self._watched < _WATCHED_RUNS:
            self._watched += 1
            self._writes = self._writes or any(_differ(taken[name], array) for name, array in inputs.items())


def _differ(one: Array, other: Array) -> bool:
    if one.dtype.hasobject:
        return not np.array_equal(one, other)
    return one.tobytes() != other.tobytes()


def separate(outputs: dict[str, Array], inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs that are views of an input become copies: the input's memory is soon another's."""
    for name, array in outputs.items():
        if any(np.may_share_memory(array, borrowed) for borrowed in inputs.values()):
            outputs[name] = array.copy()
    return outputs


def are_held(lent: Mapping[str, Array]) -> bool:
    """Whether anybody but `lent` refers to one of its arrays: a view or a tensor that shares its memory does."""
    # The mapping, the loop's name and the argument of the call itself refer to it.
    return any(sys.getrefcount(array) > _OWN_REFERENCES for array in lent.values())


def forget_frames(error: BaseException) -> None:
    """Drops what the frames of a failed call still refer to, which is also what it was lent."""
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is not None and one.__traceback__ is not None:
            traceback.clear_frames(one.__traceback__)
            one.__traceback__ = None
            todo += (one.__cause__, one.__context__)
