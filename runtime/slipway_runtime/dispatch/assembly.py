"""Rows of several requests to one batch, and its outputs back to their owners. Pure, apart from the copying."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from slipway_runtime.batching.work import Slice
from slipway_runtime.dispatch.ticket import Ticket
from slipway_runtime.engines.engine import Layout
from slipway_runtime.models.datatypes import Array

Arrays = Mapping[str, Array]
Allocate = Callable[[Layout], Arrays]
"""`Engine.allocate`."""


def ticket_of(part: Slice) -> Ticket:
    """The scheduler knows a ticket as the id of its request."""
    ticket = part.request.id
    assert isinstance(ticket, Ticket)
    return ticket


def assemble(parts: Sequence[Slice], rows: int, allocate: Allocate) -> Arrays:
    """Inputs of `rows` rows: those of the parts, in order, and repetitions of the first one to fill up.

    A request that is the whole batch lends its own arrays; otherwise each row is copied once.
    """
    part, first = parts[0], ticket_of(parts[0])
    # Padding may make a part of a request as large as the whole: then it is still only a part.
    if len(parts) == 1 and part.stop - part.start == rows == first.rows:
        return first.inputs
    return fill({name: [_rows_of(part, name) for part in parts] for name in first.inputs}, rows, allocate)


def stack(tickets: Sequence[Ticket], rows: int, allocate: Allocate) -> Arrays:
    """The same for whole requests."""
    first = tickets[0]
    if len(tickets) == 1 and rows == first.rows:
        return first.inputs
    return fill({name: [ticket.inputs[name] for ticket in tickets] for name in first.inputs}, rows, allocate)


def fill(given: Mapping[str, Sequence[Array]], rows: int, allocate: Allocate) -> Arrays:
    """A batch of `rows` rows: each input's arrays one after another, then repetitions of its first row."""
    inputs = allocate({name: ((rows, *arrays[0].shape[1:]), arrays[0].dtype) for name, arrays in given.items()})
    for name, arrays in given.items():
        target = inputs[name]
        filled = sum([len(array) for array in arrays])
        np.concatenate(arrays, out=target[:filled])
        if filled < rows:
            # Values that the model takes for sure: what lies in unused memory may be an index out of range.
            target[filled:] = target[0]
    return inputs


def _rows_of(part: Slice, name: str) -> Array:
    ticket = ticket_of(part)
    array = ticket.inputs[name]
    return array if part.stop - part.start == ticket.rows else array[part.start : part.stop]


def mismatch(outputs: Arrays, names: Sequence[str], rows: int | None) -> str | None:
    """What is wrong with a batch's outputs. `rows` is None where their number is not told by the inputs'."""
    missing = [name for name in names if name not in outputs]
    if missing:
        return f"it gave no {', '.join(missing)}"
    if rows is None:
        return None
    for name in names:
        shape = outputs[name].shape
        if not shape or shape[0] != rows:
            return f"{name} has the shape {list(shape)} for a batch of {rows} rows"
    return None


def join(ticket: Ticket, part: Slice, outputs: Arrays) -> Arrays | None:
    """Keeps the outputs of one part of a request that was split, and returns them all when none is missing.

    Raises `ValueError` where the parts do not fit together.
    """
    joined = ticket.joined
    if joined is None:
        made = {name: np.empty((ticket.rows, *array.shape[1:]), array.dtype) for name, array in outputs.items()}
        joined = ticket.joined = _Joined(made, ticket.rows)
    for name, array in outputs.items():
        whole = joined.outputs[name]
        if whole.shape[1:] != array.shape[1:] or whole.dtype != array.dtype:
            raise ValueError(
                f"{name} is {array.dtype} {list(array.shape[1:])} per row in one batch of the request and"
                f" {whole.dtype} {list(whole.shape[1:])} in another"
            )
        whole[part.start : part.stop] = array
    joined.missing_rows -= part.stop - part.start
    return joined.outputs if joined.missing_rows == 0 else None


@dataclass(slots=True)
class _Joined:
    outputs: dict[str, Array]
    missing_rows: int
