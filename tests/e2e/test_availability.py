"""Nothing is lost: requests go on being answered while everything around the model changes.

`make load` asks 100,000 times and repeats the changes until all are asked (SLIPWAY_LOAD_REQUESTS); without it a few
thousand go through one round.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.availability.askers import Kind, Route
from tests.availability.disturbances import DISTURBANCES, REPLICAS, wait_ended, wait_pods
from tests.availability.load import Plan, running
from tests.cluster.lifecycle import Cluster
from tests.e2e.conftest import Digits
from tests.e2e.models import QUICK_START, Model

REQUESTS: Final = int(os.environ.get("SLIPWAY_LOAD_REQUESTS", "0"))
"""0: one round, however many that are."""
REQUESTS_PER_SECOND: Final = float(os.environ.get("SLIPWAY_LOAD_REQUESTS_PER_SECOND", "100"))
LEAST_REQUESTS: Final = 2_000
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(7200 if REQUESTS else 900)]


def routes(model: Model, host: str) -> list[Route]:
    address = model.service_address()
    service, rpc = f"http://{address}", f"{address.partition(':')[0]}:9000"
    ingress = f"http://{model.cluster.ingress_address}"
    return [
        Route("Service, keep-alive", Kind.KEEP_ALIVE, service, model.name),
        Route("Service, fresh connections", Kind.FRESH, service, model.name),
        Route("Ingress, keep-alive", Kind.KEEP_ALIVE, ingress, model.name, host),
        Route("Service, gRPC", Kind.GRPC, rpc, model.name),
    ]


@pytest.mark.feature("disruption")
def test_no_request_fails_while_everything_around_the_model_changes(
    deploy: Callable[..., Model], installed: Cluster, digits: Digits, namespace: str, tmp_path: Path
) -> None:
    if installed.state is None or installed.state.nodes < REPLICAS:
        pytest.skip("needs a local cluster with two nodes: it is drained, and its API server restarted")
    host = f"{namespace}.example.com"
    model = deploy(
        replicas=REPLICAS,
        runtime=QUICK_START,
        exposure={"service": {"grpcPort": 9000}, "ingress": {"className": "traefik", "host": host}},
    )
    model.wait_ready()
    model.kubectl("wait", "--for=condition=RouteReady", f"mdep/{model.name}", "--timeout=60s")
    wait_pods(model, lambda pods: len(pods) == REPLICAS, "all pods serve")

    plan = Plan(routes(model, host), digits.samples, REQUESTS_PER_SECOND)
    with running(installed, plan, tmp_path) as load:
        rounds = 0
        while not rounds or load.report()["requests"] < REQUESTS:
            for name, disturb in DISTURBANCES.items():
                with load.during(name):
                    disturb(model)
            rounds += 1
        wait_ended(model)
        report = load.stop()
    print(json.dumps({"rounds": rounds, **report}, indent=2))
    for name, begin, end in load.occasions:
        print(f"{name}: {end - begin:.1f} s")
    assert report["failed"] == 0, f"{report['failed']} of {report['requests']}\n{load.explain(report['failures'])}"
    assert report["requests"] >= max(REQUESTS, LEAST_REQUESTS)
    assert all(route["requests"] for route in report["routes"].values())
