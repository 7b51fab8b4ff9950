"""The page of the runtime's metrics is whole: what a server shows under load is on it."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.monitoring import references
from tests.runtime.server import RuntimeServer

pytestmark = [pytest.mark.runtime, pytest.mark.timeout(300)]


def test_every_series_of_a_serving_runtime_is_on_the_page_with_its_labels(linear: RuntimeServer) -> None:
    for body in ({"inputs": {"x": [[1, 0, 0, 0]]}}, {"inputs": {"x": [[1]]}}):
        httpx.post(f"{linear.uri}/predict", json=body, timeout=30)
    shown = [
        sample
        for family in text_string_to_metric_families(linear.metrics())
        for sample in family.samples
        if family.name.startswith("slipway_runtime_") and not sample.name.endswith("_created")
    ]
    known = references.known()
    assert len({sample.name for sample in shown}) > 50
    assert {sample.name for sample in shown} - set(known) == set()
    assert [sample for sample in shown if set(sample.labels) - known[sample.name]] == []
