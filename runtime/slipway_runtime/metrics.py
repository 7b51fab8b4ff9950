"""Every metric of the runtime, with its help text, unit and labels."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from slipway_runtime.lifecycle import Lifecycle

SECONDS_BUCKETS: Final = (
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


class Metrics:
    """One registry for one runtime. Label values never come from a request's content."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, lifecycle: Lifecycle) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._declare_requests()
        self._declare_model()
        ready = Gauge(
            "slipway_runtime_ready", "1 while the runtime answers predictions, else 0.", registry=self.registry
        )
        ready.set_function(lambda: float(lifecycle.ready))
        draining = Gauge(
            "slipway_runtime_draining", "1 from the request to stop until the process ends.", registry=self.registry
        )
        draining.set_function(lambda: float(lifecycle.draining))

    def _declare_requests(self) -> None:
        self.requests = Counter(
            "slipway_runtime_requests_total",
            "Requests answered on the inference port. protocol: v2 and predict are predictions, other is the rest;"
            " code: HTTP status; reason: ok or the error's code.",
            ["protocol", "code", "reason"],
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "slipway_runtime_request_duration_seconds",
            "Time from a prediction request's headers to the last byte of its answer.",
            ["protocol"],
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self.stage_seconds = Histogram(
            "slipway_runtime_request_stage_seconds",
            "Where a prediction's time goes. stage: read, decode, queue, compute, encode.",
            ["stage"],
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "slipway_runtime_requests_in_flight",
            "Requests on the inference port that are accepted and not yet answered.",
            registry=self.registry,
        )

    def _declare_model(self) -> None:
        self.load_seconds = Gauge(
            "slipway_runtime_model_load_seconds",
            "How long each stage of the start took. stage: fetch, verify, load, warm_up.",
            ["stage"],
            registry=self.registry,
        )
        self.model_info = Gauge(
            "slipway_runtime_model_info",
            "1, with what is served in the labels.",
            ["model", "format", "digest", "device"],
            registry=self.registry,
        )
        self.artifact_bytes = Counter(
            "slipway_runtime_artifact_bytes_total",
            "Bytes of the artifact received from its store.",
            ["scheme"],
            registry=self.registry,
        )

    def render(self) -> bytes:
        return generate_latest(self.registry)
