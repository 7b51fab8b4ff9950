"""From `helm install` to a prediction, through every route a client takes."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from tests.cluster.lifecycle import Cluster
from tests.e2e.conftest import Digits
from tests.e2e.models import Model

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

Deploy = Callable[..., Model]


@pytest.mark.feature("artifact-secret", "ingress", "no-add-ons", "no-cert-manager", "three-commands")
def test_predictions_through_service_and_ingress_when_applied(
    deploy: Deploy, installed: Cluster, digits: Digits, namespace: str
) -> None:
    host = f"{namespace}.example.com"
    model = deploy(
        exposure={"ingress": {"className": "traefik", "host": host}},
        artifact={
            "uri": "s3://models/digits/model.pt",
            "digest": digits.digest,
            "credentials": {"secretRef": {"name": "store"}},
        },
    )
    model.wait_ready()
    labels = [sample["label"] for sample in digits.samples]
    assert model.predict() == labels
    model.kubectl("wait", "--for=condition=RouteReady", f"mdep/{model.name}", "--timeout=60s")
    assert model.predict(f"http://{installed.ingress_address}", headers={"Host": host}) == labels
    row = model.row()
    assert row["READY"] == "True"
    assert row["REPLICAS"] == "1/1"
    assert row["URL"] == f"http://{host}/"
    assert row["REASON"] == "PredictionsAnswered"


@pytest.mark.feature("path-routing")
def test_path_prefix_reaches_the_model_when_the_ingress_has_one(
    deploy: Deploy, installed: Cluster, digits: Digits
) -> None:
    model = deploy(exposure={"ingress": {"className": "traefik", "path": "/models/digits"}})
    model.wait_ready()
    model.kubectl("wait", "--for=condition=RouteReady", f"mdep/{model.name}", "--timeout=60s")
    url = model.get()["status"]["url"]
    assert url == f"http://{installed.ingress_address}/models/digits/"
    assert model.predict(url.rstrip("/")) == [sample["label"] for sample in digits.samples]
    assert httpx.get(f"{url}docs", timeout=10).status_code == 200


@pytest.mark.feature("restricted")
def test_pods_are_admitted_when_the_namespace_enforces_restricted(
    deploy: Deploy, installed: Cluster, namespace: str
) -> None:
    installed.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    model = deploy()
    model.wait_ready()
    assert model.answers()


def test_two_pods_and_a_disruption_budget_when_scaled_with_kubectl(deploy: Deploy) -> None:
    model = deploy()
    model.wait_ready()
    model.kubectl("scale", f"mdep/{model.name}", "--replicas=2")
    model.kubectl("wait", f"mdep/{model.name}", "--for=jsonpath={.status.replicaSummary}=2/2", "--timeout=120s")
    budget = json.loads(model.kubectl("get", "pdb", model.name, "-o", "json"))
    assert budget["spec"]["maxUnavailable"] == 1
    assert model.conditions()["Ready"]["status"] == "True"
    assert model.answers()
