"""The operator's own metrics, `slipway_operator_*`, in a registry of their own."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from slipway_operator import __version__
from slipway_operator.repairs import CAUSES
from slipway_operator.resources import CHILDREN, HTTP_ROUTE

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_MINUTES: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)


class Metrics:
    """One instance for each process; tests make as many as they like."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._about_work()
        self._about_the_api_server()
        self.leader = self._gauge("leader", "1 while this process holds the Lease and may write, else 0.")
        self.lease_transitions = self._gauge(
            "lease_transitions", "How often the Lease went from one holder to another, as of when it was seen last."
        )
        self.takeover_seconds = self._gauge(
            "takeover_seconds",
            "Time from the former holder's last sign of life, as this process saw it, to watching in its place.",
        )
        self.writes_fenced = self._counter(
            "writes_fenced", "Writes that were not sent, because the Lease was not renewed in time."
        )
        self._gauge("build_info", "Always 1; the label says which version runs.", ("version",)).labels(__version__).set(
            1
        )
        self.about_objects: Callable[[], bytes] = bytes
        """Further text, which `ObjectMetrics` writes."""

    def text(self) -> bytes:
        return generate_latest(self.registry) + self.about_objects()

    def _about_work(self) -> None:
        self.reconcile_seconds = self._histogram(
            "reconcile_duration_seconds", "Time of a pass over a ModelDeployment. result: success, error.", ("result",)
        )
        self.reconcile_errors = self._counter(
            "reconcile_errors",
            "Passes that failed. class: transient (the API server or the way to it), refused (it will not have it),"
            " internal (a fault of the operator).",
            ("class",),
        )
        for word in ("transient", "refused", "internal"):
            # From zero on: a rate sees no first step of a series that was not there before.
            self.reconcile_errors.labels(word)
        self.ready_seconds = self._histogram(
            "time_to_ready_seconds",
            "From the moment a ModelDeployment ceased to be Ready, or was first seen, to its being Ready.",
            buckets=_MINUTES,
        )
        self.queue_depth = self._gauge("queue_depth", "ModelDeployments that wait for a pass.")
        self.queue_oldest = self._gauge("queue_oldest_seconds", "How long the first of them has waited; 0 for none.")
        self.queue_seconds = self._histogram("queue_latency_seconds", "Time from an event to the start of its pass.")
        self.passes_running = self._gauge("reconcile_running", "Passes under way.")
        self.pass_oldest = self._gauge(
            "reconcile_oldest_seconds", "How long the longest pass under way has run; 0 for none."
        )
        self.namespaces_closed = self._gauge(
            "namespaces_closed", "Namespaces to be served that may not be read: they are gone, or a right is missing."
        )
        self.sweep_completed = self._gauge("sweep_completed_timestamp_seconds", "When a sweep was completed last.")
        self.sweep_seconds = self._histogram("sweep_duration_seconds", "Time of one sweep over everything.")
        self.sweep_failures = self._counter("sweep_failures", "Sweeps that the API server did not answer.")
        self.sweep_repairs = self._counter(
            "sweep_repairs", "Objects that a sweep found otherwise than the watches had told.", ("resource",)
        )
        self.repairs = self._counter(
            "repairs",
            "Children that were put back because somebody else had changed or deleted them. cause: changed, deleted.",
            ("kind", "cause"),
        )
        for resource, cause in product((*CHILDREN, HTTP_ROUTE), CAUSES):
            self.repairs.labels(resource.kind, cause)
        self.events_written = self._counter("events_written", "Kubernetes events that were written.", ("type",))
        self.verifications = self._counter(
            "verifications", "Predictions that were asked of a Service, by result.", ("result",)
        )
        self.events_dropped = self._counter("events_dropped", "Kubernetes events that were not written.")

    def _about_the_api_server(self) -> None:
        self.api_requests = self._counter(
            "api_requests",
            "Requests to the API server; code 0 where there was no answer.",
            ("verb", "resource", "code"),
        )
        self.api_seconds = self._histogram(
            "api_request_duration_seconds", "Time of a request to the API server.", ("verb", "resource")
        )
        self.api_throttled = self._counter(
            "api_throttled_seconds", "Time that writes waited for the operator's own limit on writes."
        )
        self.watch_opened = self._gauge(
            "watch_last_opened_timestamp_seconds", "When a watch was opened last.", ("resource",)
        )
        self.watch_events = self._counter(
            "watch_events",
            "Changes that watches told. type: ADDED, MODIFIED, DELETED, LISTED (found when a watch was begun anew).",
            ("resource", "type"),
        )

    def _counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(f"slipway_operator_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(f"slipway_operator_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, labels: tuple[str, ...] = (), buckets: tuple[float, ...] = _SECONDS
    ) -> Histogram:
        return Histogram(f"slipway_operator_{name}", text, labels, registry=self.registry, buckets=buckets)
