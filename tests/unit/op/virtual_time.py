"""An event loop whose time passes as fast as nothing is left to do."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        super().__init__()
        self._virtual = 0.0
        selector: Any = self._selector  # type: ignore[attr-defined]
        look = selector.select

        def select(timeout: float | None) -> list[Any]:
            found: list[Any] = look(0)
            assert found or timeout is not None, "nothing will ever happen again"
            if not found:
                self._virtual += timeout or 0.0
            return found

        selector.select = select

    def time(self) -> float:
        return self._virtual


def run(scenario: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(scenario)
