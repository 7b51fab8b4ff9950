"""The operator's own metrics, `slipway_operator_*`, in a registry of their own."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from slipway_operator import __version__

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """One instance for each process; tests make as many as they like."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.reconcile_seconds = self._histogram(
            "reconcile_duration_seconds", "Time of one pass over a ModelDeployment, by result.", ("result",)
        )
        self.reconcile_errors = self._counter("reconcile_errors", "Passes that failed, by class of error.", ("class",))
        self.queue_depth = self._gauge("queue_depth", "ModelDeployments that wait for a pass.")
        self.queue_seconds = self._histogram("queue_latency_seconds", "Time from an event to the start of its pass.")
        self.api_requests = self._counter(
            "api_requests",
            "Requests to the API server; code 0 where there was no answer.",
            ("verb", "resource", "code"),
        )
        self.api_seconds = self._histogram(
            "api_request_duration_seconds", "Time of a request to the API server.", ("verb", "resource")
        )
        self.watch_opened = self._gauge(
            "watch_last_opened_timestamp_seconds", "When a watch was opened last.", ("resource",)
        )
        self.objects = self._gauge(
            "objects", "ModelDeployments by condition and status, as of the last sweep.", ("condition", "status")
        )
        self.sweep_completed = self._gauge("sweep_completed_timestamp_seconds", "When a sweep was completed last.")
        self.events_dropped = self._counter("events_dropped", "Kubernetes events that were not written.")
        self._gauge("build_info", "Always 1; the label says which version runs.", ("version",)).labels(__version__).set(
            1
        )

    def text(self) -> bytes:
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(f"slipway_operator_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(f"slipway_operator_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Histogram:
        return Histogram(f"slipway_operator_{name}", text, labels, registry=self.registry, buckets=_SECONDS)
