"""What the dispatcher counts, in plain numbers, and their turn into Prometheus' families when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from slipway_runtime.batching.work import Batch
from slipway_runtime.dispatch.ticket import Ticket
from slipway_runtime.dispatch.waits import LeastWait
from slipway_runtime.telemetry.histogram import SECONDS_EDGES, Histogram

_ROWS_EDGES = tuple(float(2**power) for power in range(11))
_SHARE_EDGES = tuple(tenth / 10 for tenth in range(1, 11))
_RATIO_EDGES = (0.5, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 5.0)


T = TypeVar("T", bound=str)


class Close(StrEnum):
    """Why a batch took no more rows."""

    FULL = "full"
    """It had the largest size that the target, or the setting, allows."""
    SLACK = "slack"
    """More would have been late, or slower per row."""
    IDLE = "idle"
    """An executor was free and nothing else waited."""
    TIMER = "timer"
    """A deliberate wait was over."""


class Retry(StrEnum):
    """Why a part of a batch ran again."""

    BISECT = "bisect"
    MEMORY = "memory"
    CRASH = "crash"
    HANG = "hang"


class Growth(StrEnum):
    """What came of a larger batch size that was tried while serving."""

    KEPT = "kept"
    REFUSED = "refused"


@dataclass(slots=True)
class Outlook:
    """The state of the scheduler at one moment."""

    queued_requests: int = 0
    queued_rows: int = 0
    queue_limit_rows: int = 0
    queue_oldest_seconds: float = 0.0
    least_wait_seconds: float = 0.0
    predicted_wait_seconds: float = 0.0
    aftermath_seconds: float = 0.0
    sustainable_rows_per_second: float = 0.0
    target_feasible: bool = True
    tail_factor: float = 1.0
    margin: float = 1.0
    drifts: int = 0
    batch_limits: dict[str, int] = field(default_factory=dict)
    """By the shapes of a row."""
    batch_seconds: dict[int, tuple[float, float]] = field(default_factory=dict)
    """Median and planned seconds per size, of the bucket that was measured at warm-up."""


class DispatchCounts(Collector):
    """Written by the loop's thread, read by the admin port's.

    `outlook` is set once there is a dispatcher; it is called from any thread.
    """

    def __init__(self) -> None:
        self.outlook: Callable[[], Outlook] = Outlook
        self.waits = LeastWait()
        self.item_errors: dict[str, int] = {}
        """By the error's code."""
        self.retries = dict.fromkeys(Retry, 0)
        self.growth = dict.fromkeys(Growth, 0)
        self._closes = dict.fromkeys(Close, 0)
        self._rows = Histogram(_ROWS_EDGES)
        self._fill = Histogram(_SHARE_EDGES)
        self._seconds = Histogram(SECONDS_EDGES)
        self._ratio = Histogram(_RATIO_EDGES)
        self._padding_rows = 0
        self.answered = 0
        """Requests with outputs; the next three are theirs."""
        self.answered_rows = 0
        self.queue_seconds = 0.0
        self.compute_seconds = 0.0
        self.batches: dict[int, tuple[int, float]] = {}
        """Rows of a batch to the batches of that size that ended well, and their seconds together."""

    def began(self, batch: Batch, close: Close, limit: int) -> None:
        self._closes[close] += 1
        self._rows.observe(batch.rows)
        self._fill.observe(batch.rows / limit)
        self._padding_rows += batch.padded_rows - batch.rows

    def ended(self, batch: Batch, now: float) -> None:
        """Only those that ended well."""
        seconds = now - batch.started_at
        count, total = self.batches.get(batch.rows, (0, 0.0))
        self.batches[batch.rows] = count + 1, total + seconds
        self._seconds.observe(seconds)
        self._ratio.observe(seconds / batch.predicted_seconds if batch.predicted_seconds else 1.0)

    def answer(self, ticket: Ticket) -> None:
        self.answered += 1
        self.answered_rows += ticket.rows
        self.queue_seconds += ticket.started_at - ticket.offered_at
        self.compute_seconds += ticket.compute_seconds

    def answer_all(self, requests: int, rows: int, queue_seconds: float, compute_seconds: float) -> None:
        """`queue_seconds` of all requests together, `compute_seconds` of each."""
        self.answered += requests
        self.answered_rows += rows
        self.queue_seconds += queue_seconds
        self.compute_seconds += requests * compute_seconds

    def collect(self) -> Iterator[Metric]:
        yield _histogram("slipway_runtime_batch_rows", "Rows of a batch, without padding.", self._rows)
        yield _histogram(
            "slipway_runtime_batch_fill_ratio", "Rows of a batch over the most it could have had then.", self._fill
        )
        yield _histogram(
            "slipway_runtime_batch_duration_seconds",
            "From a batch's start to its outputs, with the way to the engine and back.",
            self._seconds,
        )
        yield from self._collect_sizes()
        yield _histogram(
            "slipway_runtime_batch_predicted_ratio", "Time of a batch over what was predicted for it.", self._ratio
        )
        yield _counter(
            "slipway_runtime_batch_close",
            "Batches by why they took no more rows. reason: full, slack (more would have been late or slower), idle"
            " (nothing else waited), timer (a deliberate wait was over).",
            "reason",
            self._closes,
        )
        yield _counter(
            "slipway_runtime_batch_retries",
            "Parts of batches that ran again. cause: bisect (a request made the others fail), memory (halved to fit),"
            " crash and hang (the worker ended).",
            "cause",
            self.retries,
        )
        yield _counter(
            "slipway_runtime_item_errors",
            "Requests that failed for themselves in a batch whose others were answered. code: the error's.",
            "code",
            self.item_errors.copy(),
        )
        yield _counter(
            "slipway_runtime_batch_growth",
            "Batch sizes above the largest one so far that were tried on requests. outcome: kept, refused.",
            "outcome",
            self.growth,
        )
        padding = CounterMetricFamily("slipway_runtime_batch_padding_rows", "Rows computed to fill up batches.")
        padding.add_metric([], self._padding_rows)
        yield padding
        yield from _outlook_metrics(self.outlook())

    def _collect_sizes(self) -> Iterator[Metric]:
        classes: dict[str, tuple[int, float]] = {}
        for rows, (count, seconds) in self.batches.copy().items():
            name = _size_class(rows)
            known = classes.get(name, (0, 0.0))
            classes[name] = known[0] + count, known[1] + seconds
        batches = CounterMetricFamily(
            "slipway_runtime_batches",
            "Batches that ended well, by their rows: revisions are compared at equal sizes.",
            labels=["rows"],
        )
        times = CounterMetricFamily("slipway_runtime_batch_seconds", "Time of these batches.", labels=["rows"])
        for name, (count, seconds) in classes.items():
            batches.add_metric([name], count)
            times.add_metric([name], seconds)
        yield batches
        yield times


def _size_class(rows: int) -> str:
    """1, 2, 3-4, 5-8, 9-16 and so on."""
    if rows <= 2:
        return str(rows)
    upper = 1 << (rows - 1).bit_length()
    return f"{upper // 2 + 1}-{upper}"


def _outlook_metrics(outlook: Outlook) -> Iterator[Metric]:
    gauges = {
        "queue_requests": ("Requests that wait for a batch.", outlook.queued_requests),
        "queue_rows": ("Rows that wait for a batch.", outlook.queued_rows),
        "queue_limit_rows": (
            "Rows that may wait before more are refused, of the bucket that was measured at the start.",
            outlook.queue_limit_rows,
        ),
        "queue_oldest_seconds": ("How long the oldest request waits for a batch.", outlook.queue_oldest_seconds),
        "queue_wait_min_seconds": (
            "The least that any request waited of those that left the queue in the last 5 seconds: above 0 while there"
            " is a standing queue, 0 when one was let through at once or none came.",
            outlook.least_wait_seconds,
        ),
        "answer_writing_seconds": (
            "From the end of a batch to an answer, exceeded by one answer in twenty. Batches have the rest of the"
            " latency target. 0 until there were some answers.",
            outlook.aftermath_seconds,
        ),
        "queue_predicted_wait_seconds": (
            "How long a request that came now would wait for its batch.",
            outlook.predicted_wait_seconds,
        ),
        "sustainable_rows_per_second": (
            "What this replica is expected to hold within the target, under random arrivals: by the learned times of"
            " batches, and by the gateway's CPU time per row, once it was busy for a third of a core.",
            outlook.sustainable_rows_per_second,
        ),
        "sla_feasible": (
            "0 when one row alone misses the target on this hardware; then nothing is refused for it.",
            float(outlook.target_feasible),
        ),
        "batch_tail_factor": ("The target's quantile of batch times over their median.", outlook.tail_factor),
        "batch_margin": ("What late answers, or the lack of them, multiply the tail factor by.", outlook.margin),
    }
    for name, (help_text, value) in gauges.items():
        yield GaugeMetricFamily(f"slipway_runtime_{name}", help_text, value)
    drifts = CounterMetricFamily(
        "slipway_runtime_batch_drifts", "How often all batch times were rescaled because the hardware changed."
    )
    drifts.add_metric([], outlook.drifts)
    yield drifts
    limits = GaugeMetricFamily(
        "slipway_runtime_batch_limit_rows",
        "The largest batch that is formed now, by the shapes of a row.",
        labels=["bucket"],
    )
    for bucket, rows in outlook.batch_limits.items():
        limits.add_metric([bucket], rows)
    yield limits
    expected = GaugeMetricFamily(
        "slipway_runtime_batch_expected_seconds",
        "The learned time of a batch by its size. kind: median, planned (exceeded as rarely as the target allows).",
        labels=["rows", "kind"],
    )
    for size, (median, planned) in outlook.batch_seconds.items():
        expected.add_metric([str(size), "median"], median)
        expected.add_metric([str(size), "planned"], planned)
    yield expected


def _histogram(name: str, help_text: str, histogram: Histogram) -> Metric:
    buckets, total = histogram.buckets()
    return HistogramMetricFamily(name, help_text, buckets=buckets, sum_value=total)


def _counter(name: str, help_text: str, label: str, values: Mapping[T, int]) -> Metric:
    family = CounterMetricFamily(name, help_text, labels=[label])
    for value, count in values.items():
        family.add_metric([str(value)], count)
    return family
