"""A worker inside a pod ends, and neither the container nor the requests of others notice."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.cluster import cgroups
from tests.cluster.lifecycle import Cluster
from tests.e2e.conftest import Digits, make_deploy
from tests.e2e.models import CREDENTIALS, Model
from tests.fixtures.waiting import wait_until
from tests.stack.store import Store

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NAMESPACE = "slipway-e2e-isolation"
HANDLER = """
    import os

    import numpy as np


    def signature():
        return {
            "inputs": [{"name": "mebibytes", "datatype": "INT32", "shape": [-1]}],
            "outputs": [{"name": "process", "datatype": "INT64", "shape": [-1]}],
        }


    def example():
        return {"mebibytes": 1}


    def predict(batch):
        held = [bytearray(b"x") * (int(size) << 20) for size in batch["mebibytes"]]
        return {"process": np.full(len(held), os.getpid())}
"""
KILL_WORKERS = r"""
import os, pathlib, signal
for entry in pathlib.Path("/proc").iterdir():
    if entry.name.isdigit() and b"\0-m\0slipway_runtime.engines.worker\0" in (entry / "cmdline").read_bytes():
        os.kill(int(entry.name), signal.SIGKILL)
        print(entry.name)
"""


@pytest.fixture(scope="module")
def eater(
    installed: Cluster, store: Store, digits: Digits, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Model]:
    """A handler that uses as much memory as it is asked to, in a pod under Pod Security "restricted"."""
    source = tmp_path_factory.mktemp("handler") / "handler.py"
    source.write_text(textwrap.dedent(HANDLER))
    uri = store.upload(source, "eater/handler.py")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    installed.kubectl("apply", "-f", "-", stdin=json.dumps(namespace))
    artifact = {"uri": uri, "format": "Python", "credentials": {"secretRef": {"name": CREDENTIALS}}}
    deploy = make_deploy(installed, store, digits, NAMESPACE)
    model = deploy("eater", artifact=artifact, resources={"limits": {"memory": "1Gi"}}, batching={"mode": "Disabled"})
    model.wait_ready()
    yield model
    installed.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def ask(model: Model, mebibytes: int) -> httpx.Response:
    body = {"inputs": [{"name": "mebibytes", "datatype": "INT32", "shape": [1], "data": [mebibytes]}]}
    url = f"http://{model.service_address()}/v2/models/{model.name}/infer"
    return httpx.post(url, json=body, timeout=60, trust_env=False)


def worker(model: Model) -> int:
    """Its pid, as it tells it itself."""
    answer = ask(model, 1)
    assert answer.status_code == 200, answer.text
    process: int = answer.json()["outputs"][0]["data"][0]
    return process


def container(model: Model) -> dict[str, Any]:
    (pod,) = model.pods().values()
    (found,) = pod["status"]["containerStatuses"]
    return {"id": found["containerID"], "restarts": found["restartCount"], "ready": found["ready"]}


def ends(model: Model, cause: str) -> int:
    """How many workers were started again for this cause, by the pod's own metrics."""
    (pod,) = model.pods().values()
    text = httpx.get(f"http://{pod['status']['podIP']}:8081/metrics", timeout=10, trust_env=False).text
    lines = [line for line in text.splitlines() if line.startswith("slipway_runtime_worker_restarts_total{")]
    return int(sum(float(line.rpartition(" ")[2]) for line in lines if f'cause="{cause}"' in line))


def wait_back(model: Model, former: int) -> int:
    """Until another worker answers."""
    wait_until(lambda: worker(model) != former, f"{former} still answers")
    return worker(model)


@pytest.mark.feature("worker-restart", "worker-requests")
def test_killed_worker_comes_back_and_no_request_is_lost(eater: Model) -> None:
    before, former = container(eater), worker(eater)
    (pod,) = eater.pods().values()
    with ThreadPoolExecutor(4) as clients:
        asked = [clients.submit(ask, eater, 1) for _ in range(40)]
        killed = eater.kubectl("exec", pod["metadata"]["name"], "--", "python", "-c", KILL_WORKERS).split()
        asked += [clients.submit(ask, eater, 1) for _ in range(40)]
        answers = [future.result() for future in asked]
    assert killed
    assert [answer.text for answer in answers if answer.status_code != 200] == []
    wait_back(eater, former)
    assert ends(eater, "crash") == len(killed)
    assert container(eater) == before, "the container went on"


@pytest.mark.feature("worker-restart")
def test_worker_that_takes_all_memory_is_killed_alone(eater: Model) -> None:
    if cgroups.is_unified():
        pytest.skip("on cgroup v2 the kubelet kills the whole container; its singleProcessOOMKill would have to be set")
    before, former = container(eater), worker(eater)
    refused = ask(eater, 4096)
    assert (refused.status_code, refused.json()["code"]) == (500, "worker_crashed"), refused.text
    wait_back(eater, former)
    assert ends(eater, "out_of_memory") >= 1
    assert container(eater) == before, "the container went on"
    assert eater.conditions()["Ready"]["status"] == "True"
