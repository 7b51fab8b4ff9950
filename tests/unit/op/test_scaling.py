"""The number of pods: who asked for it, the bounds it meets, and what the status says of both."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_operator.api.scaling import REPLICAS_LIMIT
from slipway_operator.api.v1alpha1 import ModelDeploymentSpec
from slipway_operator.plan import Plan
from slipway_operator.scaling import wanted_replicas
from tests.unit.op.observations import claims, model, plan_of

pytestmark = pytest.mark.unit

numbers = st.integers(0, REPLICAS_LIMIT)
bounds = st.tuples(st.none() | numbers, st.none() | numbers.filter(bool)).filter(
    lambda pair: pair[0] is None or pair[1] is None or pair[0] <= pair[1]
)


def scaled(asked: int, **fields: Any) -> ModelDeploymentSpec:
    return ModelDeploymentSpec.model_validate(
        {"artifact": {"uri": "s3://m/m.pt"}, "replicas": asked, "autoscaling": {"strategy": "External"} | fields}
    )


def limited(planned: Plan) -> dict[str, Any]:
    return next(item for item in planned.status["conditions"] if item["type"] == "ScalingLimited")


def deployment_replicas(planned: Plan) -> int:
    found: int = next(item for item in planned.applies if item.ref.kind == "Deployment").manifest["spec"]["replicas"]
    return found


@given(asked=numbers, pair=bounds)
def test_the_number_is_the_nearest_to_what_was_asked_within_the_bounds(
    asked: int, pair: tuple[int | None, int | None]
) -> None:
    least, most = pair
    wanted = wanted_replicas(scaled(asked, minReplicas=least, maxReplicas=most))
    inside = range(least or 0, (REPLICAS_LIMIT if most is None else most) + 1)
    assert wanted in inside
    assert abs(wanted - asked) == min(abs(number - asked) for number in (inside[0], inside[-1], wanted))
    assert asked not in inside or wanted == asked


@pytest.mark.parametrize("autoscaling", [None, {"strategy": "None"}, {"strategy": "External"}])
def test_the_number_asked_for_is_wanted_when_there_are_no_bounds(autoscaling: dict[str, Any] | None) -> None:
    planned = plan_of(model(replicas=7, autoscaling=autoscaling))
    assert deployment_replicas(planned) == planned.status["desiredReplicas"] == 7
    assert claims(planned)["ScalingLimited"] == ("False", "NoBounds")


@pytest.mark.parametrize(
    ("asked", "wanted", "claim", "words"),
    [
        (0, 2, ("True", "TooFewReplicas"), "spec.replicas is 0, spec.autoscaling.minReplicas is 2"),
        (9, 4, ("True", "TooManyReplicas"), "spec.replicas is 9, spec.autoscaling.maxReplicas is 4"),
        (3, 3, ("False", "DesiredWithinRange"), "within the bounds"),
    ],
)
def test_the_status_tells_when_a_bound_counts(asked: int, wanted: int, claim: tuple[str, str], words: str) -> None:
    autoscaling = {"strategy": "External", "minReplicas": 2, "maxReplicas": 4}
    planned = plan_of(model(replicas=asked, autoscaling=autoscaling))
    assert deployment_replicas(planned) == planned.status["desiredReplicas"] == wanted
    assert claims(planned)["ScalingLimited"] == claim
    assert words in limited(planned)["message"]
    assert planned.status["replicaSummary"] == f"0/{wanted}"


def test_a_disruption_budget_follows_the_number_after_the_bounds() -> None:
    planned = plan_of(model(replicas=1, autoscaling={"strategy": "External", "minReplicas": 2}))
    assert "PodDisruptionBudget" in [item.ref.kind for item in planned.applies]


def test_no_verdict_on_bounds_is_given_when_the_spec_cannot_be_read() -> None:
    assert claims(plan_of(model(replicas=-1)))["ScalingLimited"] == ("Unknown", "Reconciling")
