"""Every metric of the runtime, with its help text, unit and labels."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE_OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from slipway_runtime.contract import SLAConfig
from slipway_runtime.dispatch.counts import DispatchCounts
from slipway_runtime.engines.counts import EngineCounts
from slipway_runtime.http.counts import HttpCounts
from slipway_runtime.lifecycle import Lifecycle
from slipway_runtime.protocol.mediatypes import choose_media_type
from slipway_runtime.rpc.counts import GrpcCounts
from slipway_runtime.telemetry.cgroup import CgroupCollector
from slipway_runtime.telemetry.counts import RequestCounts
from slipway_runtime.telemetry.gpu import GpuCollector
from slipway_runtime.version import runtime_version

_PLAIN: Final = b"text/plain"
_OPENMETRICS: Final = b"application/openmetrics-text"


class Metrics:
    """One registry for one runtime. Label values never come from a request's content."""

    def __init__(self, lifecycle: Lifecycle, sla: SLAConfig | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.request_counts = RequestCounts(sla or SLAConfig())
        self.registry.register(self.request_counts)
        self.dispatch_counts = DispatchCounts()
        self.registry.register(self.dispatch_counts)
        self.engine_counts = EngineCounts()
        self.registry.register(self.engine_counts)
        self.http_counts = HttpCounts()
        self.http_counts.departures = self.request_counts.departures
        self.registry.register(self.http_counts)
        self.grpc_counts = GrpcCounts()
        self.registry.register(self.grpc_counts)
        self.registry.register(CgroupCollector())
        self.registry.register(GpuCollector())
        self._declare_model()
        ready = Gauge(
            "slipway_runtime_ready", "1 while the runtime answers predictions, else 0.", registry=self.registry
        )
        ready.set_function(lambda: float(lifecycle.ready))
        draining = Gauge(
            "slipway_runtime_draining", "1 from the request to stop until the process ends.", registry=self.registry
        )
        draining.set_function(lambda: float(lifecycle.draining))

    def _declare_model(self) -> None:
        build_info = Gauge(
            "slipway_runtime_build_info", "1, with the runtime's version.", ["version"], registry=self.registry
        )
        build_info.labels(runtime_version()).set(1)
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

    def render(self, accept: bytes | None = None) -> tuple[bytes, str]:
        """The text and its media type: OpenMetrics, which alone has exemplars, for who prefers it."""
        if accept and choose_media_type(accept, (_PLAIN, _OPENMETRICS)) == _OPENMETRICS:
            text: bytes = generate_openmetrics(self.registry)  # type: ignore[no-untyped-call]
            return text, CONTENT_TYPE_OPENMETRICS
        return generate_latest(self.registry), CONTENT_TYPE_LATEST
