"""The operator gets through the policies that it writes, and nobody else through what it needs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slipway_operator.plan import plan
from slipway_operator.render.manifest import Manifest
from tests.unit.op.observations import POLICY, model, observed

pytestmark = pytest.mark.unit


def rules(operator_namespace: str) -> list[Manifest]:
    policy = replace(POLICY, render=replace(POLICY.render, operator_namespace=operator_namespace))
    clients = [{"podSelector": {"matchLabels": {"app": "shop"}}}]
    planned = plan(observed(model(networkPolicy={"clients": clients})), policy)
    (manifest,) = [item.manifest for item in planned.applies if item.ref.kind == "NetworkPolicy"]
    found: list[Manifest] = manifest["spec"]["ingress"]
    return found


def test_an_operator_inside_the_cluster_may_ask_for_a_prediction_and_for_progress() -> None:
    clients, operator = rules("slipway-system")
    assert clients == rules("")[0]
    assert operator["from"] == [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "slipway-system"}},
            "podSelector": {
                "matchLabels": {"app.kubernetes.io/component": "operator", "app.kubernetes.io/part-of": "slipway"}
            },
        }
    ]
    assert [port["port"] for port in operator["ports"]] == ["http", "admin"]


def test_an_operator_outside_the_cluster_or_that_does_not_ask_is_not_let_in() -> None:
    assert len(rules("")) == 1
