"""What the gateway takes for a row bounds the rate that a replica claims to hold."""

from __future__ import annotations

import pytest

from slipway_runtime.dispatch.loopcost import LoopCost

pytestmark = pytest.mark.unit

MODELS_RATE = 4_000_000.0


def test_the_models_rate_counts_until_the_gateway_was_busy() -> None:
    cost = LoopCost(0.0, 0.0, 0)
    cost.look(10.0, 0.5, 10)  # timers and probes, and hardly a request
    assert cost.bound(MODELS_RATE) == MODELS_RATE


def test_a_busy_gateway_tells_what_it_holds_at_most() -> None:
    cost = LoopCost(0.0, 0.0, 0)
    cost.look(10.0, 5.0, 300_000)
    assert cost.bound(MODELS_RATE) == pytest.approx(60_000)
    assert cost.bound(100.0) == 100.0
    cost.look(20.0, 5.1, 300_010)
    assert cost.bound(MODELS_RATE) == pytest.approx(60_000), "quiet times teach nothing"
    for second in range(12):
        cost.look(30.0 + 10 * second, 15.0 + 10 * second, 900_010 + 600_000 * second)
    assert cost.bound(MODELS_RATE) == pytest.approx(60_000, rel=0.01)


def test_looks_in_quick_succession_are_one() -> None:
    cost = LoopCost(0.0, 0.0, 0)
    cost.look(0.5, 0.5, 1)
    assert cost.bound(MODELS_RATE) == MODELS_RATE
    cost.look(1.0, 1.0, 50_000)
    assert cost.bound(MODELS_RATE) == pytest.approx(50_000)
