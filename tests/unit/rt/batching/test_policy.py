"""What the configuration's words mean to the scheduler."""

from __future__ import annotations

import pytest

from slipway_runtime.batching.policy import OVERHEAD_SECONDS, latency_target, make_policy
from slipway_runtime.contract import BatchingConfig, BatchingMode, Objective, OnOverload, SLAConfig

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("sla", "milliseconds", "quantile"),
    [
        (SLAConfig(p99_milliseconds=100), 100, 0.99),
        (SLAConfig(p95_milliseconds=50), 50, 0.95),
        (SLAConfig(p95_milliseconds=50, p99_milliseconds=100), 50, 0.95),
        (SLAConfig(p95_milliseconds=100, p99_milliseconds=100), 100, 0.99),
        (SLAConfig(p50_milliseconds=10, p99_milliseconds=100), 100, 0.99),
        (SLAConfig(p50_milliseconds=10), 10, 0.5),
    ],
)
def test_the_tighter_target_decides_less_what_is_no_batch(sla: SLAConfig, milliseconds: int, quantile: float) -> None:
    target = latency_target(sla)
    assert target is not None
    assert target.seconds == pytest.approx(milliseconds / 1000 - OVERHEAD_SECONDS)
    assert target.quantile == quantile


@pytest.mark.parametrize(
    ("milliseconds", "measured", "left"),
    [(100, 0.0, 0.098), (100, 0.001, 0.098), (100, 0.03, 0.07), (100, 0.07, 0.05), (1, 0.0, 0.0005), (1, 1.0, 0.0005)],
)
def test_a_measured_overhead_counts_where_it_is_larger_and_leaves_half(
    milliseconds: int, measured: float, left: float
) -> None:
    target = latency_target(SLAConfig(p99_milliseconds=milliseconds))
    assert target is not None
    assert target.after(measured) == pytest.approx(left)


def test_a_target_that_the_overhead_would_eat_keeps_its_half() -> None:
    target = latency_target(SLAConfig(p99_milliseconds=1))
    assert target is not None
    assert target.seconds == pytest.approx(0.0005)


def test_no_target_sheds_nothing() -> None:
    assert latency_target(SLAConfig()) is None
    assert not make_policy(BatchingConfig(), SLAConfig(), 30.0, 8).sheds_at_target


def test_a_median_target_refuses_nobody() -> None:
    """Half of the answers may be later."""
    assert not make_policy(BatchingConfig(), SLAConfig(p50_milliseconds=50), 30.0, 8).sheds_at_target


def test_settings_are_taken_over() -> None:
    batching = BatchingConfig(
        mode=BatchingMode.STATIC,
        objective=Objective.EFFICIENCY,
        max_queue_delay_milliseconds=5,
        max_queue_length=7,
        allowed_batch_sizes=[8, 4],
    )
    policy = make_policy(batching, SLAConfig(p99_milliseconds=100, on_overload=OnOverload.QUEUE), 10.0, 16, executors=2)
    assert policy.mode is BatchingMode.STATIC
    assert policy.objective is Objective.EFFICIENCY
    assert policy.max_queue_delay_seconds == pytest.approx(0.005)
    assert (policy.max_queue_length, policy.allowed_batch_sizes) == (7, (4, 8))
    assert (policy.max_batch_size, policy.timeout_seconds, policy.executors) == (16, 10.0, 2)
    assert not policy.sheds_at_target
