"""A fault of the operator is told where its users look, and takes nothing back that was known."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from slipway_operator import reconcile
from slipway_operator.api.reasons import ConditionType
from slipway_operator.application import Operator
from slipway_operator.faults import fault
from slipway_operator.kube import AioKubeApi
from slipway_operator.lease import Lease
from slipway_operator.metrics import Metrics
from slipway_operator.settings import from_environment
from slipway_operator.throttle import TokenBucket
from tests.fixtures.operator import ready
from tests.unit.op.answering import answering
from tests.unit.op.observations import KEY, applied, deployed_template, model, plan_of, pod

pytestmark = pytest.mark.unit

NOW = "2026-01-01T12:00:00Z"


def said(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {item["type"]: (item["status"], item["reason"]) for item in status["conditions"]}


def test_every_condition_is_there_though_nothing_was_judged_before() -> None:
    found = fault(model(generation=3), {}, "KeyError", NOW)
    assert found.status["observedGeneration"] == 3
    assert said(found.status) == dict.fromkeys(map(str, ConditionType), ("Unknown", "InternalError"))
    assert [note.reason for note in found.notes] == ["InternalError"]


def test_pods_that_served_this_generation_still_do_and_another_one_is_not_called_ready() -> None:
    children = applied(plan_of(model()))
    pods = [pod(ready(), template=deployed_template(children))]
    before = plan_of(model(), children, pods).status
    same = fault(model(), before, "KeyError", NOW)
    assert said(same.status)["Ready"] == ("True", "PredictionsAnswered")
    assert said(same.status)["Accepted"] == ("Unknown", "InternalError")
    other = fault(model(generation=2), same.status, "KeyError", NOW)
    assert said(other.status)["Ready"] == ("Unknown", "InternalError")
    assert said(other.status)["Available"] == ("True", "PodsReady")
    assert other.status["readyReplicas"] == before["readyReplicas"]
    assert other.notes == [], "it was told before"


def test_a_pass_that_fails_is_told_in_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.Response:
        if request.method == "PATCH":
            written.append(json.loads(await request.read()))
            return web.json_response({"metadata": {"resourceVersion": "11"}})
        return web.json_response({"message": "none"}, status=404)

    def broken(*_: object) -> None:
        raise KeyError("a word that belongs to the log")

    async def scenario() -> str:
        async with answering(answer) as port:
            settings, metrics = from_environment({"SLIPWAY_RUNTIME_IMAGE": "registry.example.com/runtime:1"}), Metrics()
            api = AioKubeApi(Configuration(host=f"http://127.0.0.1:{port}"), TokenBucket(1000), metrics, lambda: 5.0)
            operator = Operator(settings, api, Lease("operator-a", settings.lease.times), metrics)
            operator.cache.put_model(model(generation=2))
            try:
                return await operator._pass(KEY)
            finally:
                operator.queue.close()
                await api.close()

    monkeypatch.setattr(reconcile, "plan", broken)
    assert asyncio.run(scenario()) == "error"
    (status,) = [body["status"] for body in written]
    assert status["observedGeneration"] == 2
    assert said(status)["Ready"] == ("Unknown", "InternalError")
    assert "a word that belongs to the log" not in json.dumps(status)
    assert "KeyError" in json.dumps(status)
