"""What happens to a served model in ordinary life, each done as a person or a cluster does it, and waited out."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from tests.cluster.topology import nodes
from tests.e2e.models import Model
from tests.stack import chart

REPLICAS: Final = 2
SETTLE_SECONDS: Final = 180
HELD_UP_SECONDS: Final = 12
OPERATOR: Final = ("-n", chart.NAMESPACE)


def roll_out(model: Model) -> None:
    """A revision that differs in a harmless field; every pod is replaced."""
    before = set(living(model))
    timeout = (model.spec.get("traffic") or {}).get("requestTimeoutSeconds", 30)
    model.apply(traffic={"requestTimeoutSeconds": 29 if timeout == 30 else 30})
    model.wait_ready()
    wait_pods(model, lambda pods: len(pods) == REPLICAS and not before & set(pods), "every pod is a new one")


def hold_up_kube_proxy(model: Model) -> None:
    """It learns of no endpoint for longer than a pod waits by itself, while every pod is replaced."""
    state = model.cluster.state
    assert state is not None
    proxy = state.processes[nodes(state)[0].program("kube-proxy")].identity.pid
    os.kill(proxy, signal.SIGSTOP)
    resuming = threading.Timer(HELD_UP_SECONDS, os.kill, (proxy, signal.SIGCONT))
    resuming.start()
    try:
        for pod in list(living(model).values())[:1]:
            model.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false")
        wait_pods(model, lambda pods: len(pods) == REPLICAS, "the pod is replaced")
    finally:
        resuming.join()


def scale_up_and_down(model: Model) -> None:
    model.kubectl("scale", f"mdep/{model.name}", f"--replicas={REPLICAS + 1}")
    wait_pods(model, lambda pods: len(pods) == REPLICAS + 1, "there is another pod")
    model.kubectl("scale", f"mdep/{model.name}", f"--replicas={REPLICAS}")
    wait_pods(model, lambda pods: len(pods) == REPLICAS, "the pod is gone")


def drain_a_node(model: Model) -> None:
    """The node with the most pods of the model; all of them go elsewhere."""
    places = Counter(pod["spec"]["nodeName"] for pod in living(model).values())
    node = places.most_common(1)[0][0]
    try:
        # Forced, because other tests leave pods that no controller would make anew.
        flags = ("--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=150s")
        said = model.cluster.kubectl("drain", node, *flags)
        assert f"{model.namespace}/" in said, f"the drain took no pod of the model: {said}"
        wait_pods(
            model,
            lambda pods: len(pods) == REPLICAS and all(pod["spec"]["nodeName"] != node for pod in pods.values()),
            f"no pod is on {node}",
        )
    finally:
        model.cluster.kubectl("uncordon", node)


def kill_the_operator(model: Model) -> None:
    """In the middle of a rollout, which the next one brings to its end."""
    timeout = (model.spec.get("traffic") or {}).get("requestTimeoutSeconds", 30)
    model.apply(traffic={"requestTimeoutSeconds": 31 if timeout != 31 else 30})
    model.cluster.kubectl(
        *OPERATOR, "delete", "pod", "-l", "app.kubernetes.io/name=slipway", "--grace-period=0", "--force"
    )
    model.cluster.kubectl(*OPERATOR, "rollout", "status", "deployment", "--timeout=120s")
    model.wait_ready()
    wait_pods(model, lambda pods: len(pods) == REPLICAS, "the rollout has ended")


def restart_the_api_server(model: Model) -> None:
    model.cluster.restart_api_server()
    model.wait_ready()


DISTURBANCES: Final[Mapping[str, Callable[[Model], None]]] = {
    "rollout": roll_out,
    "kube-proxy that stands still": hold_up_kube_proxy,
    "drain of a node": drain_a_node,
    "restart of the API server": restart_the_api_server,
    "death of the operator": kill_the_operator,
    "scale-down": scale_up_and_down,
}


def living(model: Model) -> dict[str, Any]:
    """Pods by uid, without those that are leaving: these go on answering, and nothing waits for their end."""
    return {uid: pod for uid, pod in model.pods().items() if "deletionTimestamp" not in pod["metadata"]}


def wait_pods(model: Model, holds: Callable[[dict[str, Any]], bool], what: str) -> None:
    """Until all living pods are ready and `holds` says yes to them."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        pods = living(model)
        if holds(pods) and all(is_ready(pod) for pod in pods.values()):
            return
        assert time.monotonic() < deadline, f"{what}: not within {SETTLE_SECONDS} s: {json.dumps(summary(pods))}"
        time.sleep(0.3)


def wait_ended(model: Model) -> None:
    """Until the last pod that was told to go has gone."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while set(model.pods()) != set(living(model)):
        assert time.monotonic() < deadline, json.dumps(summary(model.pods()))
        time.sleep(0.3)


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True"


def summary(pods: dict[str, Any]) -> list[str]:
    return [
        f"{pod['metadata']['name']} on {pod['spec'].get('nodeName')}: {pod['status'].get('phase')},"
        f" {'ready' if is_ready(pod) else 'not ready'}"
        for pod in pods.values()
    ]
