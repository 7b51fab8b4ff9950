"""What runs in the pods, and how a change reaches them where GPUs are short, on a real node."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from slipway_operator.names import selector_labels
from tests.cluster import node as node_mode
from tests.cluster.lifecycle import Cluster
from tests.cluster.topology import nodes
from tests.e2e.conftest import Digits
from tests.e2e.models import CREDENTIALS, QUICK_START, Model
from tests.fixtures.waiting import wait_until
from tests.stack.images import Images

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

Deploy = Callable[..., Model]
SERVER: Final = Path(__file__).with_name("custom_server.py")
SURGE_TIMEOUT_SECONDS: Final = 5
IDLE: Final = ["python3", "-c", "import time; time.sleep(3600)"]


def strategy(model: Model) -> dict[str, Any]:
    deployment = json.loads(model.kubectl("get", "deployment", model.name, "-o", "json"))
    found: dict[str, Any] = deployment["spec"]["strategy"]["rollingUpdate"]
    return found


def runtime(images: Images, prediction: dict[str, str] | None = None) -> dict[str, Any]:
    """Of the server beside this file."""
    contract: dict[str, Any] = {"port": 3000, "command": ["python3", "/code/server.py"], "readinessPath": "/ready"}
    if prediction is not None:
        contract["prediction"] = prediction
    return {"engine": "Custom", "image": images.runtime, "container": contract}


@pytest.fixture
def one_gpu(installed: Cluster) -> Iterator[None]:
    """One GPU in the whole cluster, which only the scheduler believes in."""
    assert installed.state is not None, "GPUs can be pretended on the local cluster only"
    one = nodes(installed.state)[0]
    node_mode.pretend_gpus(installed.state, one, 1)
    yield
    node_mode.pretend_gpus(installed.state, one, 0)


@pytest.fixture
def custom(deploy: Deploy, installed: Cluster, namespace: str, images: Images) -> Callable[..., Model]:
    """Deploy the server beside this file, in an image that has torch."""
    code = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "server", "namespace": namespace},
        "data": {"server.py": SERVER.read_text()},
    }
    installed.kubectl("apply", "-f", "-", stdin=json.dumps(code))

    def deploy_custom(**blocks: Any) -> Model:
        return deploy(
            runtime=runtime(images),
            podTemplate={
                "volumes": [{"name": "code", "configMap": {"name": "server"}}],
                "volumeMounts": [{"name": "code", "mountPath": "/code", "readOnly": True}],
            },
            **blocks,
        )

    return deploy_custom


@pytest.mark.feature("custom-image")
def test_any_container_that_speaks_http_serves_a_verified_artifact(
    custom: Callable[..., Model], digits: Digits, images: Images
) -> None:
    artifact = {
        "uri": "s3://models/digits/model.pt",
        "digest": digits.digest,
        "credentials": {"secretRef": {"name": CREDENTIALS}},
    }
    model = custom(artifact=artifact)
    model.wait_ready()
    pixels = [sample["image"] for sample in digits.samples]
    answer = httpx.post(f"http://{model.service_address()}/", json=pixels, timeout=30)
    assert answer.json() == {"model": model.name, "labels": [sample["label"] for sample in digits.samples]}
    (pod,) = model.pods().values()
    (server,) = pod["spec"]["containers"]
    assert CREDENTIALS not in json.dumps(server), "only the container that fetches sees the store's keys"

    assert model.conditions()["Ready"]["reason"] == "ReadinessAnswered", "nobody knows how to ask it for a prediction"
    image = json.dumps(pixels[:1])
    model.apply(runtime=runtime(images, {"path": "/nowhere", "body": image}))
    conditions = model.wait_reason("PredictionFailed")
    assert (
        "answered 404 through the Service, expected 200 to 299: there is no /nowhere here"
        in (conditions["Ready"]["message"])
    )
    model.apply(runtime=runtime(images, {"path": "/", "body": image}))
    model.wait_ready()
    assert model.conditions()["Ready"]["reason"] == "PredictionsAnswered"
    assert list(model.pods()) == [pod["metadata"]["uid"]], "what is asked restarts nothing"

    model.apply(artifact=artifact | {"uri": "s3://models/digits/missing.pt"})
    conditions = model.wait_reason("ArtifactNotFound")
    assert conditions["Available"]["status"] == "True", "the older pod serves on"
    model.apply(artifact=artifact | {"digest": f"sha256:{'0' * 64}"})
    model.wait_reason("DigestMismatch")


@pytest.mark.feature("artifact-resolved", "runtime-by-format", "format-detection")
def test_the_status_tells_where_the_artifact_came_from_and_what_opened_it(deploy: Deploy, digits: Digits) -> None:
    model = deploy(runtime=QUICK_START)
    model.wait_ready()
    known = model.get()["status"]["artifact"]
    where, mark, etag = known["resolvedURI"].partition("#etag=")
    assert (where, mark) == ("s3://models/digits/model.pt", "#etag=")
    assert etag
    assert known["digest"] == digits.digest
    assert (known["format"], known["loader"]) == ("TorchScript", "TorchScript")
    assert "The TorchScript loader opens the artifact: its content is" in model.kubectl(
        "logs", f"deployment/{model.name}"
    )


def test_ready_ends_with_what_it_rests_on(deploy: Deploy) -> None:
    model = deploy(runtime=QUICK_START)
    model.wait_ready()
    model.apply(paused=True)
    model.wait_ready()
    turned = {"spec": {"selector": {"app": "somebody-else"}}}
    model.kubectl("patch", "service", model.name, "--type=merge", f"--patch={json.dumps(turned)}")
    wait_until(lambda: model.conditions()["Ready"]["status"] == "False", "a Service that leads nowhere")
    assert model.conditions()["Ready"]["reason"] == "Paused"
    wait_until(lambda: model.conditions()["Degraded"]["reason"] == "ServiceUnreachable", "it was asked where it leads")
    model.apply(paused=False)
    model.wait_ready()
    assert model.answers()

    (pod,) = model.pods().values()
    model.kubectl("label", "pod", pod["metadata"]["name"], "app.kubernetes.io/instance-")
    wait_until(lambda: model.conditions()["Ready"]["status"] == "False", "its only pod was taken from the Service")
    model.wait_ready()
    assert model.answers()
    wait_until(lambda: model.get()["status"]["replicaSummary"] == "1/1", "the pod in its place")

    stranger = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "stranger", "labels": selector_labels(model.name)},
        "spec": {"containers": [{"name": "idle", "image": pod["spec"]["containers"][0]["image"], "command": IDLE}]},
    }
    model.cluster.kubectl("-n", model.namespace, "apply", "-f", "-", stdin=json.dumps(stranger))
    conditions = model.wait_reason("ServiceUnreachable")
    assert "pod stranger" in conditions["Ready"]["message"]
    model.kubectl("delete", "pod", "stranger", "--now")
    model.wait_ready()


def test_an_ingress_that_moves_to_a_class_of_nobody_is_no_route(deploy: Deploy, namespace: str) -> None:
    ingress = {"className": "traefik", "host": f"{namespace}.example.com"}
    model = deploy(runtime=QUICK_START, exposure={"ingress": ingress})
    model.wait_ready()
    model.kubectl("wait", "--for=condition=RouteReady", f"mdep/{model.name}", "--timeout=60s")
    model.apply(exposure={"ingress": ingress | {"className": "nobody"}})
    wait_until(lambda: model.conditions()["RouteReady"]["status"] == "False", "the address is another controller's")
    wait_until(lambda: model.conditions()["RouteReady"]["reason"] != "Verifying", "it was asked")
    assert model.conditions()["RouteReady"]["reason"] in ("RouteUnanswered", "AddressPending")
    assert "url" not in model.get()["status"]
    model.apply(exposure={"ingress": ingress})
    model.kubectl("wait", "--for=condition=RouteReady", f"mdep/{model.name}", "--timeout=90s")


@pytest.mark.feature("gpu-surge")
def test_a_cluster_with_one_gpu_can_still_update(deploy: Deploy, one_gpu: None) -> None:
    rollout = {"surgeTimeoutSeconds": SURGE_TIMEOUT_SECONDS}
    model = deploy(resources={"gpu": {"count": 1}}, rollout=rollout)
    model.wait_ready()
    (before,) = model.pods()

    model.apply(rollout=rollout | {"strategy": "Rolling"}, traffic={"requestTimeoutSeconds": 40})
    model.wait_reason("Unschedulable")
    time.sleep(2 * SURGE_TIMEOUT_SECONDS)
    assert before in model.pods()
    assert model.answers(), "with Rolling the old pod stays until there is room for a new one"

    model.apply(rollout=rollout)
    model.wait_ready()
    assert before not in model.pods()
    assert model.answers()
    events = json.loads(model.kubectl("get", "events", "-o", "json"))["items"]
    (told,) = [event for event in events if event["reason"] == "ReplacingPods"]
    assert "No nvidia.com/gpu is free" in told["message"]
    wait_until(lambda: strategy(model) == {"maxSurge": 1, "maxUnavailable": 0}, "the next rollout surges again")


@pytest.mark.feature("revision-history")
def test_one_field_brings_an_older_revision_back_while_the_new_one_cannot_start(deploy: Deploy) -> None:
    model = deploy()
    model.wait_ready()
    (first,) = model.get()["status"]["revisions"]
    (before,) = model.pods()
    model.apply(artifact=model.spec["artifact"] | {"digest": f"sha256:{'0' * 64}"})
    model.wait_reason("DigestMismatch")
    model.apply(rollout={"rollbackTo": first["name"]})
    model.wait_ready()
    assert model.conditions()["RolledBack"]["status"] == "True"
    assert model.answers()
    wait_until(lambda: list(model.pods()) == [before], "the pod that served all the while is the only one left")
    assert model.get()["status"]["stableRevision"] == first["name"]
