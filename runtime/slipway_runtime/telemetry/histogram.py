"""A histogram that costs one search and two additions per value. Read by another thread at scrape."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client.core import Exemplar

SECONDS_EDGES: Final = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
BYTES_EDGES: Final = tuple(float(4**power) for power in range(3, 14))
"""64 bytes to 64 MiB."""


def with_edges(edges: Iterable[float], more: Iterable[float]) -> tuple[float, ...]:
    """Ascending, each once: a share of requests within a target is exact only where an edge lies on the target."""
    return tuple(sorted({*edges, *more}))


class Histogram:
    """Counts per edge, the last for what lies above them all. Not locked: a scrape may miss the value being added."""

    __slots__ = ("_counts", "_edges", "_exemplars", "_sum")

    def __init__(self, edges: Sequence[float]) -> None:
        self._edges = tuple(edges)
        self._counts = [0] * (len(self._edges) + 1)
        self._sum = 0.0
        self._exemplars: dict[int, Exemplar] = {}

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._edges, value)] += 1
        self._sum += value

    def observe_all(self, values: Sequence[float]) -> None:
        """At least one."""
        counts, edges = self._counts, self._edges
        place = bisect_left(edges, min(values))
        if place == len(edges) or max(values) <= edges[place]:
            counts[place] += len(values)
        else:
            for value in values:
                counts[bisect_left(edges, value)] += 1
        self._sum += sum(values)

    def observe_often(self, value: float, times: int) -> None:
        self._counts[bisect_left(self._edges, value)] += times
        self._sum += value * times

    def exemplify(self, value: float, labels: Mapping[str, str], at: float) -> None:
        """Names who was counted with `value`, at the Unix time `at`; of each bucket the last is kept."""
        self._exemplars[bisect_left(self._edges, value)] = Exemplar(dict(labels), value, at)

    def exemplified(self) -> tuple[list[tuple[str, float] | tuple[str, float, Exemplar]], float]:
        """As `buckets`, with whom it names."""
        counts, total = self.buckets()
        known = self._exemplars
        return [
            (*count, known[position]) if position in known else count for position, count in enumerate(counts)
        ], total

    def buckets(self) -> tuple[list[tuple[str, float]], float]:
        """Cumulative counts as Prometheus wants them, and the sum."""
        names = [*(repr(edge) for edge in self._edges), "+Inf"]
        return list(zip(names, accumulate(map(float, self._counts)), strict=True)), self._sum
