"""Which requests may share a batch: those whose rows have the same shapes. Pure."""

from __future__ import annotations

import math
from collections.abc import Hashable

import numpy as np

from slipway_runtime.dispatch.ticket import Ticket
from slipway_runtime.engines.engine import LoadedModel
from slipway_runtime.models.datatypes import Array


def shares_batches(facts: LoadedModel) -> bool:
    """False: every request is a batch of its own, whatever rows it has."""
    return facts.signature.batched and facts.row_wise


class Buckets:
    """Fills in what the dispatcher needs to know of a ticket's inputs."""

    def __init__(self, facts: LoadedModel) -> None:
        self._shared = shares_batches(facts)
        self._names = tuple(spec.name for spec in facts.signature.inputs)
        self._first = self._names[0]
        self._bucket = facts.bucket
        self._row_elements = facts.row_elements
        skipped = 1 if facts.signature.batched else 0
        self._varies = any(-1 in spec.shape[skipped:] for spec in facts.signature.inputs)
        self._skipped = skipped

    def assign(self, ticket: Ticket) -> None:
        inputs = ticket.inputs
        ticket.rows = inputs[self._first].shape[0] if self._shared else 1
        if not ticket.rows:
            ticket.inputs = inputs = {name: _one_row(array) for name, array in inputs.items()}
            ticket.rows, ticket.empty = 1, True
        if not self._varies:
            ticket.bucket, ticket.row_elements = self._bucket, self._row_elements
            return
        bucket = tuple(inputs[name].shape[self._skipped :] for name in self._names)
        ticket.bucket = bucket
        ticket.row_elements = float(max(1, sum(map(math.prod, bucket))))


def _one_row(array: Array) -> Array:
    """Of zeros, as every index range has them."""
    shape = (1, *array.shape[1:])
    return np.full(shape, b"", object) if array.dtype == object else np.zeros(shape, array.dtype)


def bucket_name(bucket: Hashable) -> str:
    """Such as `3x224x224` or, with several inputs, `128,128`."""
    shapes = bucket if isinstance(bucket, tuple) else ()
    return ",".join("x".join(map(str, shape)) or "1" for shape in shapes)
