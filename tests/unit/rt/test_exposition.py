"""The two texts that metrics are served as."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics

from slipway_runtime.contract import SLAConfig
from slipway_runtime.lifecycle import Lifecycle
from slipway_runtime.metrics import Metrics
from slipway_runtime.telemetry.record import RequestRecord

pytestmark = pytest.mark.unit

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def finished(trace_id: str, trace_flags: int, total_seconds: float) -> RequestRecord:
    record = RequestRecord("v2", "POST", "/v2/models/m/infer", status=200, trace_id=trace_id, trace_flags=trace_flags)
    record.total_seconds = total_seconds
    return record


def test_a_request_of_a_sampled_trace_is_an_exemplar_in_openmetrics_alone() -> None:
    metrics = Metrics(Lifecycle(), SLAConfig(p95_milliseconds=50))
    for trace_id, flags, seconds in (("a" * 32, 1, 0.04), (TRACE_ID, 1, 0.041), ("b" * 32, 0, 0.042), ("", 1, 0.043)):
        metrics.request_counts.count(finished(trace_id, flags, seconds))
    text, media_type = metrics.render(b"application/openmetrics-text; version=1.0.0, text/plain; q=0.5")
    assert media_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    families = {family.name: family for family in openmetrics(text.decode())}
    buckets = families["slipway_runtime_request_duration_seconds"].samples
    told = [(sample.labels["le"], sample.exemplar) for sample in buckets if sample.exemplar]
    ((edge, exemplar),) = told
    assert (edge, exemplar.labels, exemplar.value) == ("0.05", {"trace_id": TRACE_ID}, 0.041)
    plain, media_type = metrics.render()
    assert media_type == "text/plain; version=1.0.0; charset=utf-8"
    assert TRACE_ID.encode() not in plain
    assert b"# EOF" not in plain


@pytest.mark.parametrize(
    ("accept", "openly"),
    [
        (None, False),
        (b"*/*", False),
        (b"text/plain", False),
        (b"application/json", False),
        (b"application/openmetrics-text;q=0", False),
        (b"application/openmetrics-text", True),
        (
            b"application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
            b"text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            True,
        ),
    ],
)
def test_openmetrics_is_for_who_asks_for_it(accept: bytes | None, openly: bool) -> None:
    metrics = Metrics(Lifecycle())
    assert metrics.render(accept)[1].startswith("application/openmetrics-text" if openly else "text/plain")
