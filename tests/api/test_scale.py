"""The counts that `make scale` takes at thousands of objects, at some dozens: they do not depend on the number."""

from __future__ import annotations

import asyncio

import pytest

from slipway_operator.resources import Key
from tests.cluster.lifecycle import Cluster
from tests.fixtures.apiserver import ApiServer
from tests.fixtures.kubelet import Kubelet
from tests.fixtures.operator import OperatorProcess
from tests.scale.bench import SWEEP_SECONDS, Bench
from tests.scale.figures import WRITES_BUDGET, Figures
from tests.scale.world import Tracker

pytestmark = pytest.mark.api

OBJECTS = 40
WRITES_PER_SECOND = 100.0


@pytest.mark.feature("scale-figures")
def test_each_object_costs_few_writes_and_none_once_it_serves(
    cluster: Cluster, namespace: str, operator: OperatorProcess
) -> None:
    if cluster.state is None:
        pytest.skip("the API server's own counts are read as its administrator: unset KUBECONFIG")
    found = Figures(OBJECTS, WRITES_PER_SECOND, SWEEP_SECONDS)

    async def run() -> None:
        assert cluster.state is not None
        async with ApiServer(cluster.state) as api, asyncio.TaskGroup() as group:
            tracker = Tracker(api, namespace)
            wanted = [Key(namespace, f"model-{number}") for number in range(OBJECTS)]
            bench = Bench(api, operator, tracker, wanted, found, print)
            tasks = [group.create_task(work) for work in (Kubelet(api, namespace).run(), tracker.models())]
            await bench.converge()
            await bench.resync(1)
            for task in tasks:
                task.cancel()

    asyncio.run(run())
    assert found.writes_per_object <= WRITES_BUDGET
    assert found.operator_applies == found.server_applies
    assert (found.restart_writes, found.sweep_writes) == (0, 0)
