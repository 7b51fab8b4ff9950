"""What nodes and probes do to a model that served: it is told, and it comes back by itself."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster.lifecycle import Cluster
from tests.cluster.topology import nodes
from tests.e2e import faults
from tests.e2e.conftest import Digits, make_deploy
from tests.e2e.models import CREDENTIALS, Model
from tests.stack import refusals
from tests.stack.store import Store

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NAMESPACE = "slipway-e2e-nodes"


@pytest.fixture(scope="module")
def namespace(installed: Cluster) -> Iterator[str]:
    if installed.state is None:
        pytest.skip("KUBECONFIG names a cluster that this tool did not make; its processes cannot be stopped here.")
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    installed.kubectl("apply", "-f", "-", stdin=json.dumps(made))
    yield NAMESPACE
    installed.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@contextmanager
def stopped_kubelet(cluster: Cluster, node: str) -> Iterator[None]:
    """The node's kubelet stands still, as it does on a machine that is gone."""
    assert cluster.state is not None
    (lost,) = [item for item in nodes(cluster.state) if item.name == node]
    pid = cluster.state.processes[lost.program("kubelet")].identity.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.feature("root-cause")
def test_a_probe_without_answers_is_told_and_its_end_too(
    installed: Cluster, store: Store, digits: Digits, namespace: str
) -> None:
    model = make_deploy(installed, store, digits, namespace)("hanging")
    model.wait_ready()
    with faults.frozen(model):
        conditions = model.wait_reason("ProbeFailing", 60)
        assert conditions["Available"]["status"] == "False"
        assert model.row()["REASON"] == "ProbeFailing"
    model.wait_ready()
    assert "lastFailure" not in model.get()["status"]
    model.kubectl("delete", "mdep", model.name)


@pytest.mark.feature("download-progress")
def test_a_downloads_progress_is_told_while_it_runs(
    installed: Cluster, store: Store, digits: Digits, namespace: str
) -> None:
    base = faults.start_refusals(installed)
    deploy = make_deploy(installed, store, digits, namespace)
    model = deploy("slow", artifact={"uri": f"{base}/slow", "credentials": {"secretRef": {"name": CREDENTIALS}}})
    seen = wait_progress(model)
    assert seen["sizeBytes"] == refusals.SIZE_BYTES
    assert 0 < seen["downloadedBytes"] < refusals.SIZE_BYTES
    assert seen["downloadedBytes"] % (-(-refusals.SIZE_BYTES // 20)) == 0
    assert "Fetch, " in model.conditions()["Progressing"]["message"]
    model.kubectl("delete", "mdep", model.name)


def wait_progress(model: Model, seconds: float = 90) -> dict[str, int]:
    deadline = time.monotonic() + seconds
    while not (found := model.get().get("status", {}).get("artifact", {})).get("downloadedBytes"):
        assert time.monotonic() < deadline, f"nothing was told of the download: {model.get()['status']}"
        time.sleep(0.5)
    return dict(found)


@pytest.mark.feature("root-cause")
def test_a_lost_node_is_told_by_its_name_and_its_return_too(
    installed: Cluster, store: Store, digits: Digits, namespace: str
) -> None:
    assert installed.state is not None
    last = nodes(installed.state)[-1].name
    template = {"nodeSelector": {"kubernetes.io/hostname": last}}
    model = make_deploy(installed, store, digits, namespace)("far", podTemplate=template)
    model.wait_ready()
    with stopped_kubelet(installed, last):
        # The node lifecycle controller waits for 50 s before it calls a node lost.
        conditions = model.wait_reason("NodeLost", 120)
        assert last in conditions["Ready"]["message"]
        assert model.row()["REASON"] == "NodeLost"
    model.wait_ready()
    model.kubectl("delete", "mdep", model.name)
