"""Requests counted and timed in plain numbers, turned into Prometheus' families when they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from time import time
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from slipway_runtime.batching.policy import latency_target
from slipway_runtime.contract import SLAConfig
from slipway_runtime.telemetry.histogram import BYTES_EDGES, SECONDS_EDGES, Histogram, with_edges
from slipway_runtime.telemetry.record import RequestGroup, RequestRecord
from slipway_runtime.telemetry.trace import SAMPLED

_OK = 200
_DEADLINES = frozenset({"deadline_in_queue", "deadline_running", "predicted_late"})
"""Errors' codes by which a client's own time is told to be over, or about to be."""
STAGES: Final = ("read", "decode", "queue", "compute", "encode")
DEPARTURES: Final = (*STAGES, "write")
"""Stages that a client can leave in. An answer's writing is not timed: it is the network's and the client's time."""
SHED: Final = (
    "queue_full",
    "concurrency_limit",
    "bytes_budget",
    "predicted_late",
    "deadline_in_queue",
    "loading",
    "draining",
)
"""Codes of predictions that were not computed for the state that the server was in."""
_WAIT_PARTS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
"""Of the target: edges for the wait in the queue, which has to leave the model its time."""
_EDGE_DIGITS: Final = 9


class _Sizes:
    """Of the predictions of one protocol."""

    __slots__ = ("received", "seconds", "sent")

    def __init__(self, edges: Sequence[float]) -> None:
        self.seconds = Histogram(edges)
        self.received = Histogram(BYTES_EDGES)
        self.sent = Histogram(BYTES_EDGES)


class Predictions:
    """All protocols together, as clients' statistics ask for them."""

    __slots__ = (
        "answered",
        "answered_seconds",
        "decode_seconds",
        "encode_seconds",
        "failed",
        "failed_seconds",
        "last_at",
    )

    def __init__(self) -> None:
        self.answered = 0
        """With status 200; their seconds count from the last byte, and those of decode and encode are theirs."""
        self.failed = 0
        self.answered_seconds = self.failed_seconds = self.decode_seconds = self.encode_seconds = 0.0
        self.last_at = 0.0
        """Unix time; 0 before the first."""

    def count(self, record: RequestRecord) -> None:
        seconds = record.total_seconds - record.read_seconds
        self.last_at = time()
        if record.status == _OK:
            self.answered += 1
            self.answered_seconds += seconds
            self.decode_seconds += record.decode_seconds
            self.encode_seconds += record.encode_seconds
        else:
            self.failed += 1
            self.failed_seconds += seconds

    def count_all(self, group: RequestGroup) -> None:
        requests = len(group.total_seconds)
        self.last_at = time()
        self.answered += requests
        self.answered_seconds += sum(group.total_seconds)
        self.decode_seconds += requests * group.decode_seconds
        self.encode_seconds += requests * group.encode_seconds


class RequestCounts(Collector):
    """Written by the loop's thread, read by the admin port's. Label values never come from a request's content."""

    def __init__(self, sla: SLAConfig) -> None:
        self._targets = _targets(sla)
        self._edges = with_edges(SECONDS_EDGES, self._targets.values())
        self._totals: dict[tuple[str, int, str], int] = {}
        self._protocols: dict[str, _Sizes] = {}
        self._stages = {stage: Histogram(self._edges) for stage in STAGES}
        self._stages["queue"] = Histogram(with_edges(self._edges, _wait_edges(sla)))
        self.departures: Counter[str] = Counter()
        """Clients that left, by the stage of their request."""
        self._met = dict.fromkeys(self._targets, 0)
        self._missed = dict.fromkeys(self._targets, 0)
        self.in_flight = 0
        self.predictions = Predictions()

    def count(self, record: RequestRecord) -> None:
        key = (record.protocol, record.status, record.code)
        self._totals[key] = self._totals.get(key, 0) + 1
        if record.left_in:
            self.departures[record.left_in] += 1
        if record.protocol != "other":
            self._count_prediction(record)

    def count_all(self, group: RequestGroup) -> None:
        """As `count`, for each of them."""
        protocol, requests = group.protocol, len(group.total_seconds)
        key = (protocol, _OK, "ok")
        self._totals[key] = self._totals.get(key, 0) + requests
        sizes = self._sizes_of(protocol)
        sizes.seconds.observe_all(group.total_seconds)
        sizes.received.observe_all(group.bytes_in)
        sizes.sent.observe_all(group.bytes_out)
        self.predictions.count_all(group)
        stages = self._stages
        stages["decode"].observe_often(group.decode_seconds, requests)
        stages["queue"].observe_all(group.queue_seconds)
        stages["compute"].observe_often(group.compute_seconds, requests)
        stages["encode"].observe_often(group.encode_seconds, requests)
        for objective, target in self._targets.items():
            met = sum([seconds <= target for seconds in group.total_seconds])
            self._met[objective] += met
            self._missed[objective] += requests - met

    def _sizes_of(self, protocol: str) -> _Sizes:
        sizes = self._protocols.get(protocol)
        if sizes is None:
            sizes = self._protocols[protocol] = _Sizes(self._edges)
        return sizes

    def _count_prediction(self, record: RequestRecord) -> None:
        sizes = self._sizes_of(record.protocol)
        sizes.seconds.observe(record.total_seconds)
        if record.trace_flags & SAMPLED and record.trace_id:
            sizes.seconds.exemplify(record.total_seconds, {"trace_id": record.trace_id}, time())
        sizes.received.observe(record.bytes_in)
        sizes.sent.observe(record.bytes_out)
        self.predictions.count(record)
        self._count_stages(record)
        if self._targets and _is_offered(record.status):
            seconds = record.total_seconds - record.read_seconds
            for objective, target in self._targets.items():
                if record.status < 400 and seconds <= target:
                    self._met[objective] += 1
                elif not _was_impatient(record, target):
                    self._missed[objective] += 1

    def _count_stages(self, record: RequestRecord) -> None:
        stages = self._stages
        if record.read_seconds:
            stages["read"].observe(record.read_seconds)
        if record.decode_seconds:
            stages["decode"].observe(record.decode_seconds)
        if record.queue_seconds:
            stages["queue"].observe(record.queue_seconds)
        if record.compute_seconds:
            stages["compute"].observe(record.compute_seconds)
        if record.encode_seconds:
            stages["encode"].observe(record.encode_seconds)

    def collect(self) -> Iterator[Metric]:
        totals = CounterMetricFamily(
            "slipway_runtime_requests",
            "Requests answered. protocol: v2, v1, predict and grpc are predictions, other is the rest; code: HTTP"
            " status, for gRPC the one of the same meaning, 499 when the client left; reason: ok or the error's code.",
            labels=["protocol", "code", "reason"],
        )
        for (protocol, status, reason), count in self._totals.copy().items():
            totals.add_metric([protocol, str(status), reason], count)
        yield totals
        yield self._collect_shed()
        departures = CounterMetricFamily(
            "slipway_runtime_client_disconnects",
            "Requests whose client left before it had its answer. stage: read (the request had not come whole), decode,"
            " queue, compute, encode, write (the answer was on its way).",
            labels=["stage"],
        )
        for stage in DEPARTURES:
            departures.add_metric([stage], self.departures[stage])
        yield departures
        protocols = self._protocols.copy()
        yield _histograms(
            "slipway_runtime_request_duration_seconds",
            "Time from a prediction request's first byte to its answer.",
            "protocol",
            {protocol: sizes.seconds for protocol, sizes in protocols.items()},
        )
        yield _histograms(
            "slipway_runtime_request_stage_seconds",
            "Where a prediction's time goes. stage: read, decode, queue, compute, encode.",
            "stage",
            self._stages,
        )
        yield _histograms(
            "slipway_runtime_request_body_bytes",
            "Size of predictions' bodies.",
            "protocol",
            {protocol: sizes.received for protocol, sizes in protocols.items()},
        )
        yield _histograms(
            "slipway_runtime_response_body_bytes",
            "Size of the bodies of their answers.",
            "protocol",
            {protocol: sizes.sent for protocol, sizes in protocols.items()},
        )
        yield GaugeMetricFamily(
            "slipway_runtime_requests_in_flight", "Requests that are accepted and not yet answered.", self.in_flight
        )
        yield from self._collect_sla()

    def failures(self) -> Mapping[tuple[int, str], int]:
        """Predictions without an answer, by status and code."""
        failed: Counter[tuple[int, str]] = Counter()
        for (protocol, status, code), count in self._totals.copy().items():
            if protocol != "other" and status != _OK:
                failed[status, code] += count
        return failed

    def _collect_shed(self) -> Metric:
        family = CounterMetricFamily(
            "slipway_runtime_shed",
            "Predictions that were not computed, because there were too many, because they would have been too late or"
            f" because the server was not ready. reason: {', '.join(SHED)}.",
            labels=["reason"],
        )
        by_code: Counter[str] = Counter()
        for (_, code), count in self.failures().items():
            by_code[code] += count
        for reason in SHED:
            family.add_metric([reason], by_code[reason])
        return family

    def _collect_sla(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "slipway_runtime_sla_requests",
            "Predictions that the latency target is for, all but a client's own errors and departures, and those that"
            " ended because the client waits for less than the target. met: answered well within the target, counted"
            " from the last byte of the body; false also when refused or failed.",
            labels=["objective", "met"],
        )
        targets = GaugeMetricFamily(
            "slipway_runtime_sla_target_seconds", "The latency targets that are set.", labels=["objective"]
        )
        for objective, seconds in self._targets.items():
            requests.add_metric([objective, "true"], self._met[objective])
            requests.add_metric([objective, "false"], self._missed[objective])
            targets.add_metric([objective], seconds)
        yield requests
        yield targets


def _histograms(name: str, documentation: str, label: str, histograms: Mapping[str, Histogram]) -> Metric:
    family = HistogramMetricFamily(name, documentation, labels=[label])
    for value, histogram in histograms.items():
        buckets, total = histogram.exemplified()
        family.add_metric([value], buckets, total)
    return family


def _targets(sla: SLAConfig) -> dict[str, float]:
    given = {"p50": sla.p50_milliseconds, "p95": sla.p95_milliseconds, "p99": sla.p99_milliseconds}
    return {objective: milliseconds / 1000 for objective, milliseconds in given.items() if milliseconds is not None}


def _wait_edges(sla: SLAConfig) -> Iterator[float]:
    target = latency_target(sla)
    if target is not None:
        for part in _WAIT_PARTS:
            yield round(part * (target.seconds + target.reserved_seconds), _EDGE_DIGITS)


def _is_offered(status: int) -> bool:
    """Whether the target is for it: not what the client did wrong, not what it did not wait for."""
    return status < 400 or status == 429 or status >= 500


def _was_impatient(record: RequestRecord, target_seconds: float) -> bool:
    """The client's own time was over before the target's. Otherwise whoever may ask could spend the error budget."""
    own = record.timeout_seconds
    return own is not None and own < target_seconds and record.code in _DEADLINES
