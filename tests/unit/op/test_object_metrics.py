"""Metrics about ModelDeployments: true at every scrape, readable by Prometheus, bounded in number."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from slipway_operator.object_metrics import FAMILIES, ObjectDetail, ObjectMetrics, seconds_to_ready
from slipway_operator.records import ModelRecord, model_record

pytestmark = pytest.mark.unit

SINCE = "2026-01-01T00:00:00Z"


def condition(kind: str, status: str, reason: str, since: str = SINCE) -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": since}


def record(name: str = "digits", *, generation: int = 3, **status: Any) -> ModelRecord:
    given = {"conditions": [condition("Ready", "True", "PredictionsAnswered")], "observedGeneration": 3} | status
    return model_record(
        {
            "metadata": {"namespace": "vision", "name": name, "uid": f"uid-{name}", "generation": generation},
            "spec": {"artifact": {"uri": "s3://models/a.pt", "format": "TorchScript"}, "replicas": 2},
            "status": given,
        }
    )


def samples(*records: ModelRecord, detail: ObjectDetail = ObjectDetail.ALL) -> dict[tuple[str, ...], float]:
    return parsed(ObjectMetrics(lambda: records, detail).text())


def parsed(text: bytes) -> dict[tuple[str, ...], float]:
    """Value by name and label values, without the two labels that name the object."""
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = [value for name, value in sample.labels.items() if name not in ("namespace", "modeldeployment")]
            found[(sample.name.removeprefix("slipway_operator_modeldeployment"), *labels)] = sample.value
    return found


def test_an_object_tells_its_conditions_its_replicas_and_how_far_the_status_is_behind() -> None:
    conditions = [
        condition("Ready", "False", "ImagePullFailed"),
        condition("Available", "True", "PodsReady"),
        condition("Accepted", "Unknown", "Reconciling"),
    ]
    found = samples(record(generation=5, conditions=conditions, readyReplicas=1))
    assert found == {
        ("s", "Ready", "False", "ImagePullFailed"): 1,
        ("s", "Available", "True", "PodsReady"): 1,
        ("s", "Accepted", "Unknown", "Reconciling"): 1,
        ("_info", "uid-digits", "s3", "TorchScript"): 1,
        ("_condition", "Ready"): 0,
        ("_condition", "Available"): 1,
        ("_condition", "Accepted"): -1,
        ("_not_ready_reason", "ImagePullFailed"): 1,
        ("_ready_changed_timestamp_seconds",): 1767225600,
        ("_generation_lag",): 2,
        ("_replicas_wanted",): 2,
        ("_replicas_ready",): 1,
    }


def test_an_object_that_is_ready_gives_no_reason() -> None:
    assert not [name for name in samples(record()) if name[0] == "_not_ready_reason"]


def test_an_object_without_a_status_yet_is_told_about_too() -> None:
    found = samples(record(generation=1, conditions=[], observedGeneration=0))
    assert found[("_generation_lag",)] == 1
    assert found[("_replicas_ready",)] == 0


def test_less_detail_means_fewer_series_and_the_same_counts() -> None:
    conditions = [condition(f"C{number}", "True", "Fine") for number in range(11)]
    models = [record(f"m{number}", conditions=[condition("Ready", "True", "R"), *conditions]) for number in range(3)]
    for detail, per_object in ((ObjectDetail.ALL, 17), (ObjectDetail.READY, 6), (ObjectDetail.NONE, 0)):
        lines = [line for line in ObjectMetrics(lambda: models, detail).text().splitlines() if line[:1] != b"#"]
        assert sum(b"_modeldeployments{" in line for line in lines) == 12
        assert len(lines) == 12 + 3 * per_object


def test_what_is_gone_is_told_about_no_more_and_what_changed_is_told_anew() -> None:
    models = [record("a"), record("b")]
    told = ObjectMetrics(lambda: models, ObjectDetail.ALL)
    assert b'modeldeployment="a"' in told.text()
    models[:] = [record("b", readyReplicas=2)]
    text = told.text()
    assert b'modeldeployment="a"' not in text
    assert parsed(text)[("_replicas_ready",)] == 2
    models[:] = [record("b", readyReplicas=2, conditions=[condition("Ready", "False", "Crashed")])]
    assert parsed(told.text())[("_condition", "Ready")] == 0


def test_a_label_with_quotes_and_line_ends_is_still_one_label() -> None:
    odd = 'a "quoted"\\ word\nand a line'
    assert ("_not_ready_reason", odd) in samples(record(conditions=[condition("Ready", "False", odd)]))


def test_families_stand_together_and_each_has_help_and_type() -> None:
    text = ObjectMetrics(lambda: [record("a"), record("b")], ObjectDetail.ALL).text().decode()
    names = [line.split("{")[0] for line in text.splitlines() if not line.startswith("#")]
    assert [name for name, _ in itertools.groupby(names)] == list(dict.fromkeys(names))
    for family in FAMILIES:
        assert f"# HELP {family.name} {family.text}\n# TYPE {family.name} gauge\n" in text


def test_a_scrape_of_two_thousand_unchanged_objects_holds_the_loop_up_for_moments_only() -> None:
    conditions = [condition(f"C{number}", "True", "Fine") for number in range(12)]
    models = [record(f"model-{number}", conditions=conditions) for number in range(2000)]
    told = ObjectMetrics(lambda: models, ObjectDetail.ALL)
    first = told.text()
    began = time.process_time()
    assert told.text() == first
    assert time.process_time() - began < 0.25


@pytest.mark.parametrize(
    ("before", "after", "seconds"),
    [
        (("False", "2026-01-01T00:00:00Z"), ("True", "2026-01-01T00:01:30Z"), 90.0),
        (("Unknown", "2026-01-01T00:00:00Z"), ("True", "2026-01-01T00:00:00Z"), 0.0),
        (("True", "2026-01-01T00:00:00Z"), ("True", "2026-01-01T00:00:00Z"), None),
        (("False", "2026-01-01T00:00:00Z"), ("False", "2026-01-01T00:00:00Z"), None),
        (None, ("True", "2026-01-01T00:00:00Z"), None),
    ],
)
def test_the_time_to_ready_is_told_once_when_it_turns_true(
    before: tuple[str, str] | None, after: tuple[str, str], seconds: float | None
) -> None:
    def status(ready: tuple[str, str] | None) -> dict[str, Any]:
        return {"conditions": [condition("Ready", ready[0], "R", ready[1])]} if ready else {}

    assert seconds_to_ready(status(before), status(after)) == seconds
