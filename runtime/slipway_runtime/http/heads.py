"""Heads that were read before: clients repeat themselves, and the same bytes mean the same."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from slipway_runtime.http.exchange import Shortcut
from slipway_runtime.http.head import Head

_END: Final = b"\r\n\r\n"
_MOST: Final = 512
_MOST_SPELLINGS: Final = 4
_LONGEST_BYTES: Final = 2048
_TRACE: Final = b"traceparent"
"""It differs in every request: such a head does not come again."""
_ID: Final = b"x-request-id"
_ID_LINE: Final = re.compile(rb"\r\nx-request-id: ", re.IGNORECASE)
_PLAIN_ID: Final = re.compile(rb"[!-~]{1,128}")
"""One that is taken as it is (`wire.choose_request_id`)."""


@dataclass(slots=True, eq=False)
class KnownHead:
    head: Head
    size_bytes: int
    """Without the value of X-Request-Id."""
    body_bytes: int | None
    """None: it comes in chunks."""
    shortcut: Shortcut | None
    """Who may answer it without the usual steps."""


class KnownHeads:
    """Of one server. Proxies give every request an X-Request-Id of its own: apart from its value such heads are the
    same, but then `KnownHead.head` is another's, and good for a shortcut alone."""

    __slots__ = ("_known", "_marked", "_spellings", "shortcuts")

    def __init__(self) -> None:
        self._known: dict[bytes, KnownHead] = {}
        self._marked: dict[bytes, KnownHead] = {}
        """By the text without the value."""
        self._spellings: set[bytes] = set()
        self.shortcuts: dict[bytes, Shortcut] = {}
        """By path. Set before the first request that they are for."""

    def find(self, data: bytes, start: int = 0) -> KnownHead | None:
        """Whose bytes begin at `start`."""
        end = data.find(_END, start) + 4
        return self._known.get(data[start:end])

    def find_marked(self, data: bytes) -> tuple[KnownHead, bytes] | None:
        """As `find`, for one with an X-Request-Id, which is the second."""
        end = data.find(_END) + 4
        for spelling in self._spellings:
            at = data.find(spelling, 0, end)
            if at < 0:
                continue
            at += len(spelling)
            stop = data.find(b"\r\n", at)
            known = self._marked.get(data[:at] + data[stop:end])
            value = data[at:stop]
            return (known, value) if known is not None and _PLAIN_ID.fullmatch(value) else None
        return None

    def remember(self, text: bytes, head: Head) -> None:
        if len(text) > _LONGEST_BYTES or _TRACE in head.headers:
            return
        shortcut = self.shortcuts.get(head.path)
        if shortcut is not None and not shortcut.suits(head):
            shortcut = None
        if _ID not in head.headers:
            _keep(self._known, text, KnownHead(head, len(text), head.length_bytes, shortcut))
        elif shortcut is not None:
            self._remember_marked(text, head, shortcut)

    def _remember_marked(self, text: bytes, head: Head, shortcut: Shortcut) -> None:
        lines = list(_ID_LINE.finditer(text))
        if len(lines) != 1 or (len(self._spellings) >= _MOST_SPELLINGS and lines[0][0] not in self._spellings):
            return
        self._spellings.add(lines[0][0])
        at = lines[0].end()
        rest = text[:at] + text[text.find(b"\r\n", at) :]
        _keep(self._marked, rest, KnownHead(head, len(rest), head.length_bytes, shortcut))

    def open(self, shortcuts: dict[bytes, Shortcut]) -> None:
        """From now on they are asked."""
        self.shortcuts = shortcuts
        self._known.clear()
        self._marked.clear()


def _keep(known: dict[bytes, KnownHead], text: bytes, head: KnownHead) -> None:
    if len(known) >= _MOST:
        known.clear()
    known[text] = head
