"""The operator comes and goes; the served models stay."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.lifecycle import Cluster
from tests.e2e.models import Model
from tests.fixtures.objects import COLLECTION_SECONDS
from tests.fixtures.waiting import wait_until
from tests.stack import chart
from tests.stack.images import Images

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

Deploy = Callable[..., Model]
OPERATOR = ("-n", chart.NAMESPACE)
SETTLE_SECONDS = 10


def pods_and_restarts(model: Model) -> dict[str, int]:
    """Restart count by pod uid."""
    return {
        uid: sum(status["restartCount"] for status in pod["status"]["containerStatuses"])
        for uid, pod in model.pods().items()
    }


def operator_pods(cluster: Cluster) -> list[dict[str, Any]]:
    selector = "app.kubernetes.io/name=slipway"
    found: list[dict[str, Any]] = json.loads(cluster.kubectl(*OPERATOR, "get", "pods", "-l", selector, "-o", "json"))[
        "items"
    ]
    return found


def test_pods_are_untouched_when_the_operator_is_killed_and_comes_back(deploy: Deploy, installed: Cluster) -> None:
    model = deploy()
    model.wait_ready()
    before = pods_and_restarts(model)
    killed = operator_pods(installed)[0]["metadata"]["name"]
    installed.kubectl(*OPERATOR, "delete", "pod", killed, "--grace-period=0", "--force")
    assert model.answers()
    installed.kubectl(*OPERATOR, "rollout", "status", "deployment", "--timeout=120s")
    time.sleep(SETTLE_SECONDS)
    assert pods_and_restarts(model) == before
    assert model.conditions()["Ready"]["status"] == "True"


def test_children_go_with_their_owner_when_the_operator_is_stopped(deploy: Deploy, installed: Cluster) -> None:
    model = deploy()
    model.wait_ready()
    kinds = "deployment,service,configmap,serviceaccount,pod"
    selector = f"slipway.dev/modeldeployment={model.name}"
    assert model.kubectl("get", kinds, "-l", selector, "-o", "name")
    installed.kubectl(*OPERATOR, "scale", "deployment", "--all", "--replicas=0")
    try:
        model.kubectl("delete", "mdep", model.name, "--timeout=30s")

        def left() -> str:
            return model.kubectl("get", kinds, "-l", selector, "-o", "name")

        wait_until(lambda: not left(), lambda: f"still there: {left()}", seconds=COLLECTION_SECONDS)
    finally:
        installed.kubectl(*OPERATOR, "scale", "deployment", "--all", "--replicas=2")
        installed.kubectl(*OPERATOR, "rollout", "status", "deployment", "--timeout=120s")


def test_models_and_crd_stay_when_the_chart_is_uninstalled(deploy: Deploy, installed: Cluster, images: Images) -> None:
    model = deploy()
    model.wait_ready()
    before = pods_and_restarts(model)
    try:
        said = chart.helm(installed, "uninstall", chart.RELEASE, "--namespace", chart.NAMESPACE, "--wait")
        assert "modeldeployments.slipway.dev" in said
        assert installed.kubectl("get", "crd", "modeldeployments.slipway.dev", "-o", "name")
        assert pods_and_restarts(model) == before
        assert model.answers()
    finally:
        chart.install(installed, images)
    model.apply(traffic={"requestTimeoutSeconds": 20})
    model.wait_ready()


def test_helm_test_passes_when_the_operator_runs(installed: Cluster) -> None:
    said = chart.helm(installed, "test", chart.RELEASE, "--namespace", chart.NAMESPACE, "--timeout", "2m")
    assert "Succeeded" in said
