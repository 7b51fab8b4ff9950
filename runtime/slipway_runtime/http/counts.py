"""What the HTTP layer counts, as plain numbers that a scrape reads."""

from __future__ import annotations

from collections import Counter


class HttpCounts:
    """Written by the event loop's thread only."""

    def __init__(self) -> None:
        self.connections_total = 0
        self.requests = 0
        self.request_bytes = 0
        self.response_bytes = 0
        self.refusals: Counter[str] = Counter()
        """By reason: the code of the error, or what ended the connection without one."""

    def refuse(self, reason: str) -> None:
        self.refusals[reason] += 1
