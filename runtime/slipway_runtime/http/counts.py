"""What the HTTP layer counts, as plain numbers that a scrape turns into Prometheus' families."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from slipway_runtime.http.budget import ByteBudget
from slipway_runtime.telemetry.histogram import Histogram

_LAG_EDGES: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class HttpCounts(Collector):
    """Written by the event loop's thread only, read by the admin port's."""

    def __init__(self) -> None:
        self.opened = 0
        self.closed = 0
        self.requests = 0
        self.request_bytes = 0
        self.response_bytes = 0
        self.refusals: Counter[str] = Counter()
        """By reason: the code of the error, or what ended the connection without one."""
        self.lag_seconds = Histogram(_LAG_EDGES)
        self.budget: ByteBudget | None = None
        self.departures: Counter[str] = Counter()
        """Clients that left while an answer was written to them, under `write`."""

    def refuse(self, reason: str) -> None:
        self.refusals[reason] += 1

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "slipway_runtime_http_connections", "Connections on the inference port.", self.opened - self.closed
        )
        yield CounterMetricFamily(
            "slipway_runtime_http_connections_accepted", "Connections that were accepted since the start.", self.opened
        )
        refusals = CounterMetricFamily(
            "slipway_runtime_http_refusals",
            "Requests that were refused for their form or size, and clients that were too slow. reason: the error's"
            " code, or reader_too_slow for a client that did not read its answer.",
            labels=["reason"],
        )
        for reason, count in self.refusals.copy().items():
            refusals.add_metric([reason], count)
        yield refusals
        yield CounterMetricFamily(
            "slipway_runtime_http_received_bytes", "Bytes of bodies of all requests.", self.request_bytes
        )
        yield CounterMetricFamily(
            "slipway_runtime_http_sent_bytes", "Bytes of bodies of all answers.", self.response_bytes
        )
        if self.budget is not None:
            yield GaugeMetricFamily(
                "slipway_runtime_inflight_bytes",
                "What requests in flight hold of the memory that they share.",
                self.budget.used_bytes,
            )
            yield GaugeMetricFamily(
                "slipway_runtime_inflight_limit_bytes",
                "What they may hold together (maxInflightBytes).",
                self.budget.limit_bytes,
            )
        buckets, total = self.lag_seconds.buckets()
        lag = HistogramMetricFamily(
            "slipway_runtime_event_loop_lag_seconds",
            "How late the loop of the inference port came to a timer, four times a second: it was busy that long.",
        )
        lag.add_metric([], buckets, total)
        yield lag
