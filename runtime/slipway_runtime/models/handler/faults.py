"""What is told of an exception in a handler: to its author all that matters, to a client what is the client's."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Final

from slipway_runtime.models.handler.unpack import HANDLER_FILE, Code
from slipway_runtime.models.model import DeviceMemoryError, PredictionError, RejectedInputError, RowError
from slipway_runtime.models.signaturefile import ModelMemoryError

_LIMIT: Final = 600
_HIDDEN: Final = "The model's handler failed on this request. Its log says why."
_NO_MEMORY: Final = ("CUDA out of memory", "DefaultCPUAllocator: can't allocate memory")


def describe(error: BaseException, code: Code) -> str:
    """One line for the author: `ValueError: no weights (handler.py, line 8)`, without the traceback."""
    words = " ".join(str(error).split())[:_LIMIT]
    text = f"{type(error).__name__}: {words}" if words else type(error).__name__
    place = _place(error, code)
    return f"{text} ({place})" if place else text


def origin(error: BaseException, code: Code) -> str:
    """What is the same each time the same line fails; its words may be of the request."""
    return f"{type(error).__name__} {_place(error, code)}"


def _place(error: BaseException, code: Code) -> str | None:
    """The innermost line that is the handler's own."""
    if isinstance(error, SyntaxError) and error.filename:
        file = Path(error.filename)
        name = _name(file, code) if file == code.file or code.folder in file.parents else file.name
        return f"{name}, line {error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file == code.file or (code.importable and code.folder in file.parents):
            return f"{_name(file, code)}, line {frame.lineno}"
    return None


def _name(file: Path, code: Code) -> str:
    """A single file in the cache has its digest for a name."""
    return HANDLER_FILE if file == code.file else str(file.relative_to(code.folder))


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError | ModelMemoryError) or any(words in str(error) for words in _NO_MEMORY)


def row_error(error: BaseException) -> RowError:
    """`ValueError` and its kin are the client's fault and are told to it, as are errors with an HTTP status. The text
    of others may hold what is not for clients."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and 400 <= status < 600:
        detail = getattr(error, "detail", None)
        return RowError(status, "handler_rejected", str(detail or error)[:_LIMIT])
    if isinstance(error, ValueError):
        return RowError(400, "handler_rejected", (str(error) or "The handler does not take this item.")[:_LIMIT])
    if is_out_of_memory(error):
        return RowError(500, DeviceMemoryError.code, "The memory does not suffice for this request.")
    return RowError(500, PredictionError.code, _HIDDEN)


def prediction_error(error: BaseException, detail: str) -> PredictionError:
    """Of a whole batch. `detail` is for the author."""
    if is_out_of_memory(error):
        failure: PredictionError = DeviceMemoryError(detail)
    else:
        told = row_error(error)
        failure = RejectedInputError(told.message) if told.code == RejectedInputError.code else PredictionError(_HIDDEN)
        failure.status = told.status
    failure.detail = detail
    return failure
