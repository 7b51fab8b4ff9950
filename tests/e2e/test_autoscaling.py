"""A HorizontalPodAutoscaler with a real metrics-server scales a model under a real load, and down again after it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.cluster.errors import RequirementError
from tests.cluster.lifecycle import Cluster
from tests.e2e.models import Model
from tests.stack.metrics import ensure_metrics

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

Deploy = Callable[..., Model]
SCALE_SECONDS = 180
CLIENTS = 3


@pytest.fixture(scope="module")
def metered(installed: Cluster) -> Cluster:
    """The installed cluster, whose API server answers for the CPU that pods use."""
    try:
        ensure_metrics(installed)
    except RequirementError as missing:
        pytest.skip(str(missing))
    return installed


def autoscaler(model: Model, **spec: Any) -> dict[str, Any]:
    """On half of the CPU that each pod requests, quick to go down again."""
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": model.name, "namespace": model.namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "slipway.dev/v1alpha1", "kind": "ModelDeployment", "name": model.name},
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
                }
            ],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        }
        | spec,
    }


@contextmanager
def load(model: Model) -> Iterator[list[int]]:
    """Predictions one after the other until the block ends; the statuses of what was not answered."""
    failures: list[int] = []
    stop = threading.Event()
    pixels = [sample["image"] for sample in model.samples]
    body = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [len(pixels), 1, 8, 8], "data": pixels}]}
    url = f"http://{model.service_address()}/v2/models/{model.name}/infer"

    # A new connection each time, so that new pods get their share.
    connections = httpx.Limits(max_keepalive_connections=0)

    def ask() -> None:
        with httpx.Client(limits=connections, timeout=30) as client:
            while not stop.is_set():
                response = client.post(url, json=body)
                if response.status_code != 200:
                    failures.append(response.status_code)

    clients = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield failures
    finally:
        stop.set()
        for client in clients:
            client.join()


def wait(model: Model, what: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + SCALE_SECONDS
    while not holds(found := model.get()):
        assert time.monotonic() < deadline, (
            f"{what}: not within {SCALE_SECONDS} s\n{json.dumps(found, indent=2)}\n"
            + model.kubectl("describe", "hpa", model.name)
        )
        time.sleep(1)
    return found


def limited(found: dict[str, Any]) -> tuple[str, str]:
    claim = next(item for item in found["status"]["conditions"] if item["type"] == "ScalingLimited")
    return claim["status"], claim["reason"]


@pytest.mark.feature("hpa")
def test_an_autoscaler_adds_pods_under_load_within_the_bounds_and_takes_them_away_after_it(
    deploy: Deploy, metered: Cluster
) -> None:
    model = deploy(
        resources={"requests": {"cpu": "100m"}},
        autoscaling={"strategy": "External", "minReplicas": 1, "maxReplicas": 2},
    )
    model.wait_ready()
    metered.kubectl("apply", "-f", "-", stdin=json.dumps(autoscaler(model, minReplicas=1, maxReplicas=3)))
    with load(model) as failures:
        wait(model, "three pods asked for", lambda found: limited(found) == ("True", "TooManyReplicas"))
        grown = wait(model, "two pods serve", lambda found: found["status"]["replicaSummary"] == "2/2")
        assert grown["status"]["desiredReplicas"] == grown["status"]["replicas"] == 2
        model.apply()
        assert model.get()["spec"]["replicas"] > 1, "a manifest without replicas takes nothing from the autoscaler"
        assert model.conditions()["Ready"]["status"] == "True"
    assert failures == []
    shrunk = wait(model, "one pod is left", lambda found: found["status"]["replicaSummary"] == "1/1")
    assert shrunk["spec"]["replicas"] == 1
    assert limited(shrunk) == ("False", "DesiredWithinRange")
    assert model.answers()
    scaler = json.loads(model.kubectl("get", "hpa", model.name, "-o", "json"))
    assert {item["type"]: item["status"] for item in scaler["status"]["conditions"]}["ScalingActive"] == "True"
