"""Finding and calling what a handler is made of, whether functions of a module or methods of a class."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from types import ModuleType
from typing import Any, Final

from slipway_runtime.models.handler.unpack import HANDLER_FILE, Code
from slipway_runtime.models.signaturefile import ModelLoadError
from slipway_runtime.models.threads import usable_cpus

_MODULE: Final = "handler"
_CLASS: Final = "Handler"
_STREAM: Final = "stream"
"""Elsewhere the name of a hook whose answers come piece by piece, which nobody here would call."""
_ARGUMENTS: Final = {
    "setup": ("ctx",),
    "preprocess": ("item", "ctx"),
    "predict": ("batch", "ctx"),
    "postprocess": ("row", "ctx"),
    "health": (),
    "teardown": (),
    "signature": (),
    "example": (),
}
"""What each hook is called with. One that takes fewer arguments gets the first ones."""

Hook = Callable[..., Any]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hooks:
    """What the handler has. Each is called with as many arguments as it takes."""

    predict: Hook
    setup: Hook | None = None
    preprocess: Hook | None = None
    postprocess: Hook | None = None
    health: Hook | None = None
    teardown: Hook | None = None
    signature: Hook | None = None
    example: Hook | None = None


def import_handler(code: Code) -> ModuleType:
    """Runs the module. Raises whatever it raises."""
    # Read by numeric libraries when they are imported: the container's quota, not the node's cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(usable_cpus()))
    if code.importable:
        sys.path.insert(0, str(code.folder))
    spec = spec_from_loader(_MODULE, SourceFileLoader(_MODULE, str(code.file)))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[_MODULE] = module
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = writes
    return module


def find_hooks(module: ModuleType) -> Hooks:
    """Of the class `Handler` where there is one, else of the module. Raises `ModelLoadError`, and whatever the class
    raises when it is made."""
    kind = getattr(module, _CLASS, None)
    owner: object = kind() if inspect.isclass(kind) else module
    streams = callable(getattr(owner, _STREAM, None))
    found = {name: _fit(name, hook) for name in _ARGUMENTS if callable(hook := getattr(owner, name, None))}
    if streams and "predict" not in found:
        raise ModelLoadError(
            f"{HANDLER_FILE} has {_STREAM} and no predict. Answers are given whole, never as a stream: let"
            " predict(batch, ctx) collect what it yields."
        )
    if streams:
        log.warning("%s of the handler is never called: answers are given whole, by predict", _STREAM)
    if "predict" not in found:
        raise ModelLoadError(
            f"{HANDLER_FILE} has no predict. Expected a function predict(batch, ctx), or a class {_CLASS} with that"
            " method."
        )
    return Hooks(**found)


def _fit(name: str, hook: Hook) -> Hook:
    given = _ARGUMENTS[name]
    try:
        parameters = inspect.signature(hook).parameters.values()
    except (TypeError, ValueError):  # built-in callables may not tell
        return hook
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return hook
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    required = [one.name for one in positional if one.default is one.empty]
    required += [one.name for one in parameters if one.kind is one.KEYWORD_ONLY and one.default is one.empty]
    if len(required) > len(given):
        raise ModelLoadError(f"{HANDLER_FILE}: {name} wants {required}; it is called as {name}({', '.join(given)}).")
    count = min(len(given), len(positional))
    return hook if count == len(given) else lambda *arguments: hook(*arguments[:count])


class Caller:
    """Calls hooks, waiting for the asynchronous ones in an event loop of its own. Used from one thread."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None

    def call(self, hook: Hook, *arguments: Any) -> Any:
        """Raises what the hook raises."""
        result = hook(*arguments)
        if inspect.isawaitable(result):
            [result] = self._wait([result])
            if isinstance(result, BaseException):
                raise result
        return result

    def call_each(self, hook: Hook, items: Sequence[Any], *arguments: Any) -> list[Any]:
        """Results and exceptions by position. Asynchronous calls run side by side."""
        results: list[Any] = []
        for item in items:
            try:
                results.append(hook(item, *arguments))
            except BaseException as error:  # noqa: BLE001 - the error of this item alone
                results.append(error)
        waiting = [position for position, result in enumerate(results) if inspect.isawaitable(result)]
        if waiting:
            for position, result in zip(waiting, self._wait([results[i] for i in waiting]), strict=True):
                results[position] = result
        return results

    def close(self) -> None:
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def _wait(self, awaitables: Sequence[Awaitable[Any]]) -> list[Any]:
        self._runner = self._runner or asyncio.Runner()
        return self._runner.run(_gather(awaitables))


async def _gather(awaitables: Sequence[Awaitable[Any]]) -> list[Any]:
    return await asyncio.gather(*awaitables, return_exceptions=True)
