"""What happened when: violations, faults, pauses and the gateway's own log on one clock. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

_AROUND_SECONDS: Final = 3.0
_MOST_LINES: Final = 80
_FAULT: Final = 500


@dataclass(frozen=True, order=True)
class Event:
    at: float
    """Unix time."""
    who: str
    what: str

    def line(self, begun: float) -> str:
        """`begun` is the start of the load."""
        return f"{utc(self.at)} {self.at - begun:+7.1f} s  {self.who}: {self.what}"


def utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-3]


def around(events: Iterable[Event], moments: Sequence[float]) -> list[Event]:
    """Those within 3 s of one of `moments`, in order, and no more than a person reads."""
    near = (event for event in events if any(abs(event.at - moment) <= _AROUND_SECONDS for moment in moments))
    return sorted(near)[:_MOST_LINES]


def logged(lines: Iterable[Mapping[str, Any]]) -> list[Event]:
    """The gateway's log. Of single requests only what it calls its own fault, as the clients tell of the others."""
    return [
        Event(datetime.fromisoformat(line["time"]).timestamp(), "gateway", f"{line['level']} {line['message']}")
        for line in lines
        if line.get("status") == _FAULT or not {"status", "request_id"} & line.keys()
    ]
