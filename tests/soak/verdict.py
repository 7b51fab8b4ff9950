"""Which answer each kind of client may get, and what was seen. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Final

from tests.soak.timeline import Event, utc

_OVERLOAD: Final = frozenset({"429 queue_full", "429 predicted_late", "429 bytes_budget"})
_FAULTS: Final = frozenset(
    {"503 worker_restarted", "504 deadline_in_queue", "504 deadline_running", "504 worker_hung", "500 worker_crashed"}
)
"""What killed and stopped workers may do to a request whose own two attempts or whole time they took."""
HONEST: Final = frozenset({"200"}) | _OVERLOAD | _FAULTS
_BAD_STATUSES: Final = frozenset({"400", "408", "411", "413", "414", "415", "417", "422", "431", "501"})
"""Of a request that was broken at random: the code depends on where."""

ALLOWED: Final[dict[str, frozenset[str]]] = {
    **{
        f"honest {form}": HONEST
        for form in ("OIP JSON", "OIP gzip", "OIP binary", "V1", "predict JSON", "predict npy", "chunked", "pipelined")
    },
    "priority": HONEST,
    "expired timeout": HONEST,
    "slow body": HONEST | {"too slow itself"},
    "slow reader": HONEST,
    "stalled body": frozenset({"408 body_too_slow", "429 bytes_budget"}),
    "stalled head": frozenset({"408 headers_too_slow"}),
    "left mid-body": frozenset({"left"}),
    "left waiting": frozenset({"left"}),
    "left mid-answer": frozenset({"left"}) | (HONEST - {"200"}),
    "broken body": HONEST | _BAD_STATUSES,
    "broken head": HONEST | _BAD_STATUSES | {"404", "405", "406"},
    "oversized length": frozenset({"413 body_too_large"}),
    "oversized chunked": frozenset({"413 body_too_large", "429 bytes_budget"}),
    "oversized unpacked": frozenset({"413 decompressed_too_large", "429 bytes_budget"}),
    "bad header": frozenset({"as expected"}),
    "gRPC": frozenset(
        {
            "OK",
            "RESOURCE_EXHAUSTED queue_full",
            "RESOURCE_EXHAUSTED predicted_late",
            "RESOURCE_EXHAUSTED bytes_budget",
            "UNAVAILABLE worker_restarted",
            "DEADLINE_EXCEEDED deadline_in_queue",
            "DEADLINE_EXCEEDED deadline_running",
            "DEADLINE_EXCEEDED worker_hung",
            "INTERNAL worker_crashed",
        }
    ),
    "gRPC broken": frozenset(
        f"INVALID_ARGUMENT {code}"
        for code in ("shape_mismatch", "size_mismatch", "datatype_mismatch", "unknown_input", "missing_input")
    ),
    "gRPC left": frozenset({"left"}),
}


def may(kind: str, outcome: str) -> bool:
    """An entry without a code allows every code of its status."""
    allowed = ALLOWED[kind]
    return outcome in allowed or outcome.partition(" ")[0] in allowed


class Tally:
    """Counts by kind and outcome, when violations came, and the first words about them."""

    MOST_TOLD: Final = 60
    MOST_TOLD_AT_ONCE: Final = 5
    """Of one second, so that a later moment has its words too."""

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` gives Unix time."""
        self._now = now
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.violations: list[Event] = []
        self.seconds: Counter[int] = Counter()
        """Violations by the second."""

    def add(self, kind: str, outcome: str, note: str = "") -> None:
        self.counts[kind][outcome] += 1
        if not may(kind, outcome):
            self.blame(f"{kind}: {outcome} is none that it may get. {note}")

    def blame(self, violation: str) -> None:
        now = self._now()
        self.seconds[int(now)] += 1
        if self.seconds[int(now)] <= self.MOST_TOLD_AT_ONCE and len(self.violations) < self.MOST_TOLD:
            self.violations.append(Event(now, "violation", violation))

    @property
    def violation_count(self) -> int:
        return self.seconds.total()

    def moments(self) -> str:
        """`12 at 16:20:11, 1 at 16:20:15`."""
        return ", ".join(f"{count} at {utc(second)[:8]}" for second, count in sorted(self.seconds.items()))

    @property
    def total(self) -> int:
        return sum(sum(counts.values()) for counts in self.counts.values())

    def table(self) -> str:
        lines = ["| client | outcome | count |", "|---|---|---:|"]
        for kind in sorted(self.counts):
            lines += [f"| {kind} | {outcome} | {count} |" for outcome, count in sorted(self.counts[kind].items())]
        return "\n".join(lines)
