"""A platform engineer's afternoon, in a namespace with Pod Security "restricted" and a quota: what is broken by hand is
either mended by the operator, or `kubectl get` and `kubectl describe` alone say what is wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import pytest

from tests.cluster.lifecycle import Cluster
from tests.e2e.conftest import Digits, make_deploy
from tests.e2e.models import CREDENTIALS, QUICK_START, Model
from tests.fixtures.described import event_ages, in_order_of_time
from tests.fixtures.waiting import wait_until
from tests.stack.images import Images
from tests.stack.store import Store

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NAMESPACE: Final = "slipway-e2e-trial"
PUT_BACK_SECONDS: Final = 60
"""Events bring it about: the sweep over everything comes every 300 s."""
TOLD_SECONDS: Final = 90
REQUESTS: Final = {"cpu": "10m", "memory": "256Mi"}
QUOTA: Final = {"pods": "20", "requests.cpu": "4", "requests.memory": "16Gi"}
URI: Final = "s3://models/digits/model.pt"
WRONG_KEYS: Final = "wrong-keys"
"""A Secret whose secret key is not the store's."""
TAKEN: Final = "name-taken"
"""A Service that somebody else has made."""
RESTARTS: Final = 3


@pytest.fixture(scope="module")
def deploy(installed: Cluster, store: Store, digits: Digits) -> Iterator[Callable[..., Model]]:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": NAMESPACE, "labels": labels}
    installed.kubectl(
        "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    )
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team", "namespace": NAMESPACE}}
    installed.kubectl("apply", "-f", "-", stdin=json.dumps(quota | {"spec": {"hard": QUOTA}}))
    keys = store.environment | {"AWS_SECRET_ACCESS_KEY": "not-the-one"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": WRONG_KEYS, "namespace": NAMESPACE}}
    installed.kubectl("apply", "-f", "-", stdin=json.dumps(secret | {"stringData": keys}))
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": TAKEN, "namespace": NAMESPACE}}
    installed.kubectl("apply", "-f", "-", stdin=json.dumps(service | {"spec": {"ports": [{"port": 80}]}}))
    yield make_deploy(installed, store, digits, NAMESPACE)
    installed.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def artifact(**changes: Any) -> dict[str, Any]:
    return {"uri": URI, "credentials": {"secretRef": {"name": CREDENTIALS}}} | changes


@pytest.fixture(scope="module")
def healthy(deploy: Callable[..., Model]) -> Model:
    model = deploy("healthy", runtime=QUICK_START, resources={"requests": REQUESTS})
    model.wait_ready()
    return model


@pytest.fixture(scope="module")
def broken(deploy: Callable[..., Model], images: Images) -> Mapping[str, Model]:
    """All at once, for each takes its time to fail."""
    missing_image = images.runtime.rpartition(":")[0] + ":no-such-tag"
    wrong: dict[str, dict[str, Any]] = {
        "wrong-uri": {"artifact": artifact(uri="s3://models/digits/no-such-model.pt")},
        "bad-digest": {"artifact": artifact(digest="sha256:" + "0" * 64)},
        "no-secret": {"artifact": artifact(credentials={"secretRef": {"name": "no-such-secret"}})},
        "over-quota": {"resources": {"requests": {"cpu": "5", "memory": "256Mi"}}},
        "no-requests": {"resources": None},
        "no-image": {"runtime": {"image": missing_image}},
        "too-large": {"resources": {"requests": REQUESTS, "limits": {"nvidia.com/gpu": "64"}}},
        "wrong-keys": {"artifact": artifact(credentials={"secretRef": {"name": WRONG_KEYS}})},
        "no-store": {"artifact": {"uri": "https://no-such-host.invalid/model.pt"}},
        "bad-sample": {"runtime": QUICK_START | {"warmup": {"samples": [{"inputs": [SAMPLE]}]}}},
        TAKEN: {},
    }
    return {name: deploy(name, **{"resources": {"requests": REQUESTS}} | blocks) for name, blocks in wrong.items()}


SAMPLE: Final = {"name": "pixels", "datatype": "FP32", "shape": [1, 1, 9, 9]}
"""Of an input that the model does not have."""
CAUSES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "wrong-uri": ("ArtifactNotFound", ("no-such-model.pt", "s3://models/digits/")),
    "bad-digest": ("DigestMismatch", ("sha256:" + "0" * 64, "expected")),
    "no-secret": ("ContainerConfigError", ('"no-such-secret"',)),
    "over-quota": ("QuotaExceeded", ("team", "requests.cpu")),
    "no-requests": ("PodRefused", ("quota", "team", "must specify requests.cpu", "requests.memory")),
    "no-image": ("ImagePullFailed", (":no-such-tag",)),
    "too-large": ("Unschedulable", ("nvidia.com/gpu",)),
    "wrong-keys": ("ArtifactForbidden", ("SignatureDoesNotMatch", "Check the keys")),
    "no-store": ("ArtifactUnreachable", ("no-such-host.invalid", "does not resolve")),
    "bad-sample": ("WarmUpFailed", ("pixels", "the model takes image", "spec.runtime.warmup")),
    TAKEN: ("NameConflict", (f"Service {TAKEN}", "Rename the ModelDeployment or remove the Service")),
}


@pytest.mark.feature("root-cause")
@pytest.mark.parametrize("name", CAUSES)
def test_cause_is_in_get_and_describe_when_the_first_revision_is_broken(broken: Mapping[str, Model], name: str) -> None:
    reason, words = CAUSES[name]
    read_cause(broken[name], reason, words)


def read_cause(model: Model, reason: str, words: tuple[str, ...]) -> None:
    """By nothing but what a person types: the reason is in the row, and the sentence with the words in describe."""
    deadline = time.monotonic() + TOLD_SECONDS
    while (row := model.row())["REASON"] != reason:
        assert time.monotonic() < deadline, f"expected REASON {reason}, the row says {row}\n{describe(model)}"
        time.sleep(0.5)
    text = wait_described(model, words)
    assert reason in text
    ages = event_ages(text)
    assert ages, f"no event is read:\n{text}"
    assert in_order_of_time(ages), f"events are not in the order of time:\n{text}"


def wait_described(model: Model, words: tuple[str, ...]) -> str:
    """Events are written a moment after the status."""
    deadline = time.monotonic() + TOLD_SECONDS
    while True:
        text = describe(model)
        lacking = [word for word in words if word not in text]
        if not lacking and "Warning" in text.partition("\nEvents:")[2]:
            return text
        assert time.monotonic() < deadline, f"`kubectl describe` does not say {lacking}:\n{text}"
        time.sleep(0.5)


@pytest.mark.feature("events")
def test_a_pod_that_fails_again_and_again_is_told_once(broken: Mapping[str, Model]) -> None:
    """Each attempt fails in the same words, which hold no time and no count."""
    model = broken["no-store"]
    read_cause(model, *CAUSES["no-store"])
    wait_until(lambda: restarts(model) >= RESTARTS, lambda: describe(model), seconds=4 * TOLD_SECONDS)
    selector = f"involvedObject.kind=ModelDeployment,involvedObject.name={model.name},type=Warning"
    told = json.loads(model.kubectl("get", "events", "--field-selector", selector, "-o", "json"))["items"]
    assert [(event["reason"], event["count"]) for event in told] == [("ArtifactUnreachable", 1)]


def restarts(model: Model) -> int:
    pods = json.loads(model.kubectl("get", "pods", "-l", f"slipway.dev/modeldeployment={model.name}", "-o", "json"))
    statuses = [status for pod in pods["items"] for status in pod["status"].get("containerStatuses", [])]
    return sum(int(status["restartCount"]) for status in statuses)


def describe(model: Model) -> str:
    return model.kubectl("describe", "modeldeployment", model.name)


DRIFT: Final[Mapping[str, tuple[str, ...]]] = {
    "Service is deleted": ("delete", "service/healthy"),
    "selector of the Service is edited": (
        "patch", "service/healthy", "--type=merge", '-p={"spec":{"selector":{"app":"other"}}}',
    ),
    "Deployment is scaled to 0": ("scale", "deployment/healthy", "--replicas=0"),
    "image is changed": ("set", "image", "deployment/healthy", "runtime=registry.invalid/other:1"),
    "ConfigMap is deleted": ("delete", "configmap", "-l", "slipway.dev/modeldeployment=healthy"),
    "ServiceAccount is removed": ("delete", "serviceaccount/healthy"),
}  # fmt: skip
"""What a person does to the children, as kubectl's arguments."""


@pytest.mark.feature("drift")
@pytest.mark.parametrize("arguments", DRIFT.values(), ids=DRIFT.keys())
def test_child_is_put_back_within_seconds_when_it_is_broken_by_hand(healthy: Model, arguments: tuple[str, ...]) -> None:
    before = children(healthy)
    healthy.kubectl(*arguments)
    wait_until(
        lambda: children(healthy) == before,
        lambda: f"not put back: {differing(before, children(healthy))}",
        seconds=PUT_BACK_SECONDS,
    )
    healthy.wait_ready()
    wait_until(lambda: answers(healthy), lambda: describe(healthy))


def answers(model: Model) -> bool:
    try:
        return model.answers()
    except Exception:  # noqa: BLE001 - pods that a person scaled away need a moment
        return False


def children(model: Model) -> dict[str, Any]:
    """What the operator answers for, by kind and name; what the cluster adds to it is left out."""
    kinds = "deployment,service,configmap,serviceaccount"
    listed = json.loads(model.kubectl("get", kinds, "-l", f"slipway.dev/modeldeployment={model.name}", "-o", "json"))
    return {f"{item['kind']}/{item['metadata']['name']}": owned(item) for item in listed["items"]}


def owned(item: dict[str, Any]) -> dict[str, Any]:
    spec = dict(item.get("spec", {}))
    for given_by_the_cluster in ("clusterIP", "clusterIPs"):
        spec.pop(given_by_the_cluster, None)
    return {"spec": spec, "data": item.get("data")}


def differing(before: dict[str, Any], now: dict[str, Any]) -> str:
    names = [name for name in before | now if before.get(name) != now.get(name)]
    return json.dumps({name: {"expected": before.get(name), "found": now.get(name)} for name in names}, indent=2)


def test_cause_is_told_when_no_node_takes_pods(healthy: Model) -> None:
    """Every node is cordoned, then the only pod is lost."""
    names = healthy.cluster.kubectl("get", "nodes", "-o", "name").split()
    try:
        for name in names:
            healthy.cluster.kubectl("cordon", name)
        lose_pods(healthy)
        read_cause(healthy, "Unschedulable", ("unschedulable", f"0/{len(names)} nodes"))
    finally:
        for name in names:
            healthy.cluster.kubectl("uncordon", name)
    healthy.wait_ready()


def test_cause_is_told_when_the_secret_with_the_keys_is_gone(healthy: Model, store: Store) -> None:
    """What serves goes on; the next pod does not start."""
    with without_secret(healthy):
        assert healthy.answers()
        lose_pods(healthy)
        read_cause(healthy, "ContainerConfigError", (f'"{CREDENTIALS}"', "not found"))
    healthy.wait_ready()
    assert healthy.answers()


def lose_pods(model: Model) -> None:
    selector = f"slipway.dev/modeldeployment={model.name}"
    model.kubectl("delete", "pods", "-l", selector, "--grace-period=0", "--force")


@contextmanager
def without_secret(model: Model) -> Iterator[None]:
    kept = json.loads(model.kubectl("get", "secret", CREDENTIALS, "-o", "json"))
    restored = {key: kept[key] for key in ("apiVersion", "kind", "data", "type")}
    restored["metadata"] = {"name": CREDENTIALS, "namespace": model.namespace}
    model.kubectl("delete", "secret", CREDENTIALS)
    try:
        yield
    finally:
        model.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(restored))


@pytest.mark.feature("paused")
def test_paused_model_goes_on_serving_and_says_what_waits(healthy: Model) -> None:
    before = children(healthy)
    healthy.apply(paused=True, traffic={"requestTimeoutSeconds": 20})
    healthy.kubectl("wait", "--for=condition=Paused", f"mdep/{healthy.name}", "--timeout=30s")
    waiting = healthy.conditions()["Paused"]["message"]
    assert "Deployment" in waiting
    assert waiting in describe(healthy)
    assert children(healthy) == before
    assert healthy.answers()
    healthy.apply(paused=False)
    healthy.wait_ready()
    assert children(healthy) != before
