"""What the gRPC port counts of calls that it refused, and what is open on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sized
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

MESSAGE_UNREAD: Final = "message_unread"
"""No error's code: the library ended the call, and the runtime is not told why."""
REFUSALS: Final = frozenset(
    {
        "body_too_large",
        "body_too_slow",
        "bytes_budget",
        "headers_too_large",
        "reader_too_slow",
        "stream_idle",
        "too_many_calls",
        "too_many_connections",
        "unauthenticated",
    }
)
"""Codes of errors that are about a call's form, size or pace, or its caller, and not about the prediction."""


class GrpcCounts(Collector):
    """Written by the event loop's thread only, read by the admin port's. Says nothing where there is no such port."""

    def __init__(self) -> None:
        self.refusals: Counter[str] = Counter()
        self.begun = 0
        """Calls since the start; a stream counts as one."""
        self.open = 0
        self.received: Callable[[], Sized | None] | None = None
        """What each open connection has brought, None where the system does not tell. Set once the port listens."""

    def note(self, code: str) -> None:
        """A call or a message ended with this error."""
        if code in REFUSALS:
            self.refusals[code] += 1

    def collect(self) -> Iterator[Metric]:
        if self.received is None:
            return
        connections = self.received()
        if connections is not None:
            yield GaugeMetricFamily(
                "slipway_runtime_grpc_connections", "Connections that are open on the gRPC port.", len(connections)
            )
        yield GaugeMetricFamily(
            "slipway_runtime_grpc_calls",
            "gRPC calls that are open, streams and watches of health among them.",
            self.open,
        )
        yield CounterMetricFamily("slipway_runtime_grpc_calls_begun", "gRPC calls since the start.", self.begun)
        refusals = CounterMetricFamily(
            "slipway_runtime_grpc_refusals",
            "Calls and messages over gRPC that were refused for their form, size, number or pace. reason: the error's"
            " code, or message_unread for a call that ended before its message was whole: its client left, or gRPC's"
            " core refused the message.",
            labels=["reason"],
        )
        for reason, count in self.refusals.copy().items():
            refusals.add_metric([reason], count)
        yield refusals
