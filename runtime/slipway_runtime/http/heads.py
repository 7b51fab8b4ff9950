"""Heads that were read before: clients repeat themselves, and the same bytes mean the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from slipway_runtime.http.exchange import Shortcut
from slipway_runtime.http.head import Head

_END: Final = b"\r\n\r\n"
_MOST: Final = 512
_LONGEST_BYTES: Final = 2048
_UNIQUE: Final = (b"x-request-id", b"traceparent")
"""Headers that differ in every request: such a head does not come again."""


@dataclass(slots=True, eq=False)
class KnownHead:
    head: Head
    size_bytes: int
    whole_bytes: int
    """With the body; 0 for one that comes in chunks."""
    shortcut: Shortcut | None
    """Who may answer it without the usual steps."""


class KnownHeads:
    """Of one server."""

    __slots__ = ("_known", "shortcuts")

    def __init__(self) -> None:
        self._known: dict[bytes, KnownHead] = {}
        self.shortcuts: dict[bytes, Shortcut] = {}
        """By path. Set before the first request that they are for."""

    def find(self, data: bytes, start: int = 0) -> KnownHead | None:
        """Whose bytes begin at `start`."""
        end = data.find(_END, start) + 4
        return self._known.get(data[start:end])

    def remember(self, text: bytes, head: Head) -> None:
        if len(text) > _LONGEST_BYTES or any(name in head.headers for name in _UNIQUE):
            return
        if len(self._known) >= _MOST:
            self._known.clear()
        shortcut = self.shortcuts.get(head.path)
        if shortcut is not None and not shortcut.suits(head):
            shortcut = None
        whole = 0 if head.length_bytes is None else len(text) + head.length_bytes
        self._known[text] = KnownHead(head, len(text), whole, shortcut)

    def open(self, shortcuts: dict[bytes, Shortcut]) -> None:
        """From now on they are asked."""
        self.shortcuts = shortcuts
        self._known.clear()
