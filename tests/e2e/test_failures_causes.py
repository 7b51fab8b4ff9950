"""Every cause of failure, provoked for real, is found in `kubectl get`, in the conditions and in an event.

All models fail at the same time, each in its own way, so that the whole table takes as long as its slowest row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cluster.lifecycle import Cluster
from tests.e2e import faults
from tests.e2e.conftest import Digits, make_deploy
from tests.e2e.models import CREDENTIALS, Model
from tests.stack import refusals
from tests.stack.images import Images
from tests.stack.store import Store

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NAMESPACE: Final = "slipway-e2e-causes"
QUOTA_NAMESPACE: Final = "slipway-e2e-quota"
LIMITS_NAMESPACE: Final = "slipway-e2e-limits"
BEARER: Final = "bearer"
"""A Secret with a token that no server knows."""
GOOD: Final = {"uri": "s3://models/digits/model.pt", "credentials": {"secretRef": {"name": CREDENTIALS}}}


@dataclass(frozen=True)
class Cause:
    """What is applied, and what must be told of it."""

    reason: str
    words: tuple[str, ...]
    stage: str
    spec: dict[str, Any]
    namespace: str = NAMESPACE
    heals: bool = False
    """It may pass by itself, so that the change still counts as under way."""
    seconds: int = 120
    container: str | None = field(default=None)
    """Named when it has ended."""


@dataclass(frozen=True)
class World:
    """Where causes come from."""

    refusals: str
    folder: Path
    store: Store
    images: Images

    def http(self, name: str, **more: Any) -> dict[str, Any]:
        secret = {"credentials": {"secretRef": {"name": BEARER}}}
        return {"artifact": {"uri": f"{self.refusals}/{name}"} | secret | more}

    def handler(self, name: str, **spec: Any) -> dict[str, Any]:
        return {"artifact": faults.upload_handler(self.store, self.folder, name)} | spec


CAUSES: Final[dict[str, Callable[[World], Cause]]] = {
    "unauthenticated": lambda world: Cause("ArtifactUnauthenticated", ("401",), "Fetch", world.http("401")),
    "forbidden": lambda world: Cause("ArtifactForbidden", ("403",), "Fetch", world.http("403")),
    "not-found": lambda world: Cause("ArtifactNotFound", ("404",), "Fetch", world.http("404")),
    "stalled": lambda world: Cause(
        "ArtifactStalled",
        (f"Received {refusals.STALLED_AT_BYTES} bytes of {refusals.SIZE_BYTES} bytes.",),
        "Fetch",
        world.http("stalled", stallTimeoutSeconds=2),
        heals=True,
    ),
    "digest": lambda world: Cause(
        "DigestMismatch", ("sha256:" + "0" * 64,), "Verify", {"artifact": GOOD | {"digest": "sha256:" + "0" * 64}}
    ),
    "format": lambda world: Cause(
        "UnsupportedFormat", (), "Load", {"artifact": faults.upload_garbage(world.store, world.folder)}
    ),
    "load": lambda world: Cause(
        "ModelLoadFailed", ("no weights here", "handler.py"), "Load", world.handler("raises-in-setup")
    ),
    "crash": lambda world: Cause("WorkerCrashed", ("3",), "Load", world.handler("dies-in-setup")),
    "warm-up": lambda world: Cause(
        "WarmUpFailed", ("layers do not fit",), "WarmUp", world.handler("raises-in-warm-up")
    ),
    "foreign-crash": lambda world: Cause(
        "Crashed",
        ("exit code 2: ",),
        "Start",
        {"artifact": GOOD, "runtime": {"image": world.images.operator}},
        heals=True,
        container="runtime",
    ),
    "memory": lambda world: Cause(
        "OutOfMemoryKilled",
        ("spec.resources.limits.memory",),
        "Start",
        {"artifact": GOOD, "resources": {"limits": {"memory": "40Mi"}}},
    ),
    "prediction": lambda world: Cause(
        "PredictionFailed", ("A prediction through the Service was answered 500",), "Serve",
        world.handler("raises-once-ready"), heals=True,
    ),
    "secret": lambda world: Cause(
        "ContainerConfigError", ('"absent"',), "Start",
        {"artifact": GOOD | {"credentials": {"secretRef": {"name": "absent"}}}},
    ),
    "mounted-secret": lambda world: Cause(
        "ContainerConfigError", ("Secret absent-keys",), "Start",
        {"artifact": GOOD, "traffic": {"auth": {"apiKeysSecretRef": {"name": "absent-keys"}}}},
    ),
    "image": lambda world: Cause(
        "ImagePullFailed", ("no-such-tag",), "ImagePull",
        {"artifact": GOOD, "runtime": {"image": world.images.runtime.rpartition(":")[0] + ":no-such-tag"}},
    ),
    "scheduling": lambda world: Cause(
        "Unschedulable", ("Insufficient nvidia.com/gpu",), "Schedule",
        {"artifact": GOOD, "resources": {"gpu": {"count": 64}}}, heals=True,
    ),
    "quota": lambda world: Cause(
        "QuotaExceeded", ("exceeded quota: none, requested: pods=1",), "Schedule", {"artifact": GOOD},
        QUOTA_NAMESPACE, heals=True,
    ),
    "limit-range": lambda world: Cause(
        "PodRefused", ("maximum memory usage per Container is 64Mi",), "Schedule",
        {"artifact": GOOD, "resources": {"limits": {"memory": "1Gi"}}}, LIMITS_NAMESPACE,
    ),
    "eviction": lambda world: Cause(
        "Evicted", (), "Serve",
        world.handler("fills-its-disk", resources={"limits": {"ephemeral-storage": "20Mi"}}), heals=True, seconds=150,
    ),
}  # fmt: skip


def prepare(cluster: Cluster, namespace: str, *objects: dict[str, Any]) -> None:
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(made))
    for item in objects:
        cluster.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(item))


def bearer() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": BEARER},
        "stringData": {"HTTP_BEARER_TOKEN": "nobody-knows-it"},
    }


def constraint(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


@pytest.fixture(scope="module")
def failing(
    installed: Cluster, images: Images, store: Store, digits: Digits, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[Model, Cause]]]:
    """Every model of the table, applied at once."""
    if installed.state is None:
        pytest.skip("KUBECONFIG names a cluster that this tool did not make, whose nodes may not reach this machine.")
    world = World(faults.start_refusals(installed), tmp_path_factory.mktemp("faults"), store, images)
    prepare(installed, NAMESPACE, bearer())
    prepare(installed, QUOTA_NAMESPACE, constraint("ResourceQuota", "none", {"hard": {"pods": "0"}}))
    limits = {"limits": [{"type": "Container", "max": {"memory": "64Mi"}}]}
    prepare(installed, LIMITS_NAMESPACE, constraint("LimitRange", "small", limits))
    found = {}
    for name, make in CAUSES.items():
        cause = make(world)
        model = make_deploy(installed, store, digits, cause.namespace)(name, **cause.spec)
        found[name] = (model, cause)
    yield found
    for namespace in (NAMESPACE, QUOTA_NAMESPACE, LIMITS_NAMESPACE):
        installed.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.mark.feature("root-cause", "download-stall")
@pytest.mark.parametrize("name", CAUSES)
def test_the_cause_is_found_from_kubectl_alone(failing: dict[str, tuple[Model, Cause]], name: str) -> None:
    model, cause = failing[name]
    conditions = model.wait_reason(cause.reason, cause.seconds)
    for word in cause.words:
        assert word in conditions["Ready"]["message"]
    assert conditions["Accepted"]["status"] == "True"
    assert conditions["Progressing"]["status"] == ("True" if cause.heals else "False")
    row = model.row()
    assert (row["READY"], row["REASON"]) == ("False", cause.reason)
    failure = model.get()["status"]["lastFailure"]
    assert (failure["reason"], failure["stage"]) == (cause.reason, cause.stage)
    if cause.container:
        assert failure["container"] == cause.container
    described = model.kubectl("describe", "modeldeployment", name)
    assert cause.reason in described.partition("Events:")[2]
    counted = model.kubectl(
        "get", "events", "--field-selector", f"reason={cause.reason},involvedObject.name={name}",
        "-o", "name",
    )  # fmt: skip
    assert len(counted.split()) == 1, "one event for one transition"
