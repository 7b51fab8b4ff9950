"""A Python handler as a model: preprocess row by row, predict batch by batch, postprocess row by row."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import monotonic
from types import MappingProxyType
from typing import Any

import numpy as np

from slipway_runtime.contract import Datatype, Format, WarmupSample
from slipway_runtime.models.borrowing import Borrower, forget_frames, separate
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.handler.context import Context
from slipway_runtime.models.handler.faults import describe, origin, prediction_error, row_error
from slipway_runtime.models.handler.hooks import Caller, Hook, Hooks
from slipway_runtime.models.handler.rows import (
    Row,
    check_shape,
    coerce,
    group,
    join,
    name_columns,
    name_values,
    split,
    split_answer,
)
from slipway_runtime.models.handler.unpack import Code
from slipway_runtime.models.model import OutputError, RowError, RowsFailedError
from slipway_runtime.models.signature import Signature

log = logging.getLogger(__name__)


class HandlerModel:
    """Used from one thread, in which no event loop runs."""

    format = Format.PYTHON

    def __init__(
        self,
        hooks: Hooks,
        caller: Caller,
        context: Context,
        code: Code,
        signature: Signature,
        samples: Sequence[WarmupSample],
        example: Mapping[str, Array] | None,
    ) -> None:
        self.signature = signature
        self.device = context.device
        self.warmup_samples = tuple(samples)
        self.example: Mapping[str, Array] | None = example
        self.properties: Mapping[str, str] = MappingProxyType({})
        self.output_datatypes: Mapping[str, Datatype] = MappingProxyType({})
        self._hooks = hooks
        self._caller = caller
        self._context = context
        self._code = code
        self._datatypes = {spec.name: spec.datatype for spec in signature.outputs}
        """Of every output; learned from the first answer where the signature does not tell."""
        self._borrower = Borrower()
        self._reasons: dict[str, None] = {}
        """Why rows of the current batch failed, each once, for the handler's author."""
        self._logged: Counter[str] = Counter()

    def predict(
        self,
        inputs: Mapping[str, Array],
        out: Mapping[str, Array] | None = None,
        limit_seconds: float | None = None,
    ) -> dict[str, Array]:
        self._context.deadline = None if limit_seconds is None else monotonic() + limit_seconds
        self._reasons.clear()
        own = self._borrower.take(inputs)
        columns, failed = self._predict_batch(own) if self.signature.batched else (self._predict_whole(own), {})
        arrays = separate(self._to_arrays(columns), own)
        self._borrower.look(own, inputs)
        outputs = {name: _place(array, out.get(name)) for name, array in arrays.items()} if out else arrays
        if failed:
            error = RowsFailedError(failed, outputs)
            error.detail = "; ".join(self._reasons) or None
            raise error
        return outputs

    def health(self) -> str | None:
        if self._hooks.health is None:
            return None
        try:
            answer = self._caller.call(self._hooks.health)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the handler is not well
            return self._describe(error)
        if answer is None or answer is True:
            return None
        return answer if isinstance(answer, str) else f"health() gave {answer!r}"

    def close(self) -> None:
        self._context.closing = True
        if self._hooks.teardown is not None:
            try:
                self._caller.call(self._hooks.teardown)
            except BaseException as error:  # noqa: BLE001 - nothing is left to be done about it
                log.warning("teardown of the handler failed: %s", self._describe(error))
        with suppress(RuntimeError):
            self._caller.close()
        self._code.remove()

    def _predict_batch(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Any], dict[int, RowError]]:
        """Columns of values, and the rows that failed."""
        count = len(next(iter(inputs.values())))
        if self._hooks.preprocess is None and self._hooks.postprocess is None:
            answer = self._call(self._hooks.predict, dict(inputs))
            if not isinstance(answer, list):
                return name_columns(answer, count, self.signature.outputs), {}
            return join(split_answer(answer, count, self.signature.outputs))
        return join(self._predict_rows(inputs, count))

    def _predict_whole(self, inputs: Mapping[str, Array]) -> dict[str, Any]:
        """Without a batch dimension there is one item: everything."""
        item: Any = dict(inputs)
        for hook in (self._hooks.preprocess, self._hooks.predict, self._hooks.postprocess):
            if hook is not None:
                item = self._call(hook, item)
        return name_values(item, self.signature.outputs)

    def _predict_rows(self, inputs: Mapping[str, Array], count: int) -> list[Row | RowError]:
        rows: list[Any] = split(inputs, count)
        if self._hooks.preprocess is not None:
            rows = [self._named(row) for row in self._each(self._hooks.preprocess, rows)]
        good = {position: row for position, row in enumerate(rows) if not isinstance(row, RowError)}
        for positions, batch in group(good):
            answer = self._call(self._hooks.predict, batch)
            declared = () if self._hooks.postprocess else self.signature.outputs
            for position, row in zip(positions, split_answer(answer, len(positions), declared), strict=True):
                rows[position] = row
        if self._hooks.postprocess is not None:
            rows = self._each(self._hooks.postprocess, rows)
        return [row if isinstance(row, RowError) else name_values(row, self.signature.outputs) for row in rows]

    def _each(self, hook: Hook, rows: Sequence[Any]) -> list[Any]:
        """Results by position; rows that failed already are left out, those that fail now become errors."""
        results = list(rows)
        todo = [position for position, row in enumerate(rows) if not isinstance(row, RowError)]
        answers = self._caller.call_each(hook, [rows[position] for position in todo], self._context)
        for position, answer in zip(todo, answers, strict=True):
            if isinstance(answer, BaseException):
                told = row_error(answer)
                self._note(answer, told.status)
                forget_frames(answer)
                answer = told
            results[position] = answer
        return results

    def _call(self, hook: Hook, argument: Any) -> Any:
        try:
            return self._caller.call(hook, argument, self._context)
        except BaseException as error:
            # No signal interrupts a worker, so it is the handler's own; a task of an asynchronous one may be cancelled.
            failure = prediction_error(error, self._describe(error))
            self._note(error, failure.status)
            raise failure from error

    def _named(self, row: Any) -> Any:
        """What preprocess gave, by name: a bare value keeps the name of the only input."""
        if isinstance(row, Mapping | RowError):
            return row
        if len(self.signature.inputs) > 1:
            raise OutputError(f"preprocess gave a {type(row).__name__}, expected a dict of names and values.")
        return {self.signature.inputs[0].name: row}

    def _to_arrays(self, columns: Mapping[str, Any]) -> dict[str, Array]:
        """As the signature says, or as the first answer was."""
        specs = {spec.name: spec for spec in self.signature.outputs}
        arrays: dict[str, Array] = {}
        given: dict[str, Datatype] = {}
        for name, value in columns.items():
            arrays[name], given[name] = coerce(name, value, self._datatypes.get(name))
            if name in specs:
                check_shape(specs[name], arrays[name])
        self._datatypes = self._datatypes or given
        self.output_datatypes = given
        return arrays

    def _note(self, error: BaseException, status: int) -> None:
        """One traceback for each place, then a line whenever the count has doubled: a client must not fill the log."""
        text = self._describe(error)
        self._reasons[text] = None
        if status < 500:
            return
        kind = origin(error, self._code)
        self._logged[kind] += 1
        count = self._logged[kind]
        if count == 1:
            log.error("The handler failed: %s", text, exc_info=error)
        elif count & (count - 1) == 0:
            log.error("The handler failed %d times: %s", count, text)

    def _describe(self, error: BaseException) -> str:
        return describe(error, self._code)


def _place(array: Array, target: Array | None) -> Array:
    if target is None or target.shape != array.shape or target.dtype != array.dtype:
        return array
    np.copyto(target, array)
    return target
