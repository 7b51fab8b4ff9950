"""The real HorizontalPodAutoscaler scales a ModelDeployment on a metric, within its bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.cluster.lifecycle import Cluster
from tests.fixtures.metric import NAME, Metric, served_metric
from tests.fixtures.objects import Manifest, Objects
from tests.fixtures.operator import Models, OperatorProcess, condition

pytestmark = [pytest.mark.api, pytest.mark.timeout(300)]

SECONDS: Final = 90


@pytest.fixture
def metric(cluster: Cluster, namespace: str) -> Iterator[Metric]:
    if cluster.state is None:
        pytest.skip("the cluster of KUBECONFIG does not reach a server of this machine; tests/e2e has the same")
    with served_metric(cluster, namespace) as served:
        yield served


def autoscaler(**spec: Any) -> Manifest:
    """One pod for each ten that wait; down again at once."""
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "digits"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "slipway.dev/v1alpha1", "kind": "ModelDeployment", "name": "digits"},
            "metrics": [
                {
                    "type": "External",
                    "external": {"metric": {"name": NAME}, "target": {"type": "AverageValue", "averageValue": "10"}},
                }
            ],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        }
        | spec,
    }


def wait_asked(objects: Objects, replicas: int) -> None:
    objects.wait_for(
        "modeldeployment",
        "digits",
        lambda found: found["spec"]["replicas"] == replicas,
        what=f"the autoscaler asks for {replicas}",
        timeout_seconds=SECONDS,
    )


def wait_carried_out(models: Models, objects: Objects, replicas: int, limited: tuple[str, str]) -> None:
    def holds(status: Manifest) -> bool:
        claim = condition(status, "ScalingLimited")
        return status.get("desiredReplicas") == replicas and (claim["status"], claim["reason"]) == limited

    models.wait(f"{replicas} wanted, {limited}", holds)
    objects.wait_for("deployment", "digits", lambda found: found["spec"]["replicas"] == replicas, what="carried out")


@pytest.mark.feature("hpa")
def test_the_autoscaler_sets_the_number_and_the_bounds_of_the_model_hold(
    models: Models, objects: Objects, operator: OperatorProcess, metric: Metric
) -> None:
    models.create(autoscaling={"strategy": "External", "minReplicas": 1, "maxReplicas": 3})
    models.wait_pods(1)
    metric.value = 20
    objects.create(autoscaler(minReplicas=1, maxReplicas=6))
    wait_asked(objects, 2)
    wait_carried_out(models, objects, 2, ("False", "DesiredWithinRange"))

    metric.value = 60
    wait_asked(objects, 6)
    wait_carried_out(models, objects, 3, ("True", "TooManyReplicas"))
    writes = operator.settle()
    asked = metric.asked
    while metric.asked < asked + 2:
        operator.settle()
    assert operator.writes() == writes, "operator and autoscaler are at rest while they differ"

    metric.value = 5
    wait_asked(objects, 1)
    wait_carried_out(models, objects, 1, ("False", "DesiredWithinRange"))
    scaler = objects.get("hpa", "digits")
    assert scaler is not None
    states = {item["type"]: item["status"] for item in scaler["status"]["conditions"]}
    assert (states["AbleToScale"], states["ScalingActive"]) == ("True", "True")
