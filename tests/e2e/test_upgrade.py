"""The chart is upgraded and rolled back under served models; they are not touched, and no request fails."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from types import TracebackType

import httpx
import pytest

from tests.cluster.lifecycle import Cluster
from tests.e2e.models import Model
from tests.stack import chart
from tests.stack.images import Images

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

Deploy = Callable[..., Model]

SETTLE_SECONDS = 15
"""Long enough for a new operator to have looked at everything, and for a pod to have been replaced had it wanted so."""
PACE_SECONDS = 0.05


class Load:
    """Predictions one after the other, each over a connection of its own, until the block ends."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")
        self.answered = 0
        self.failures: list[str] = []

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(PACE_SECONDS):
            try:
                assert self._model.answers(), "another label than the model's"
                self.answered += 1
            except (AssertionError, httpx.HTTPError) as error:
                self.failures.append(f"{type(error).__name__}: {error}")


def upgrade(cluster: Cluster, *flags: str) -> None:
    """Keeps the values of the last release but for these."""
    chart.helm(
        cluster, "upgrade", chart.RELEASE, chart.CHART, "--namespace", chart.NAMESPACE,
        "--reuse-values", "--wait", "--timeout", "3m", *flags,
    )  # fmt: skip


def revision(cluster: Cluster) -> int:
    history = chart.helm(cluster, "history", chart.RELEASE, "--namespace", chart.NAMESPACE, "--output", "json")
    return max(int(entry["revision"]) for entry in json.loads(history))


def digest(image: str) -> str:
    """Of a tag in the cluster's registry."""
    registry, _, path = image.partition("/")
    name, _, tag = path.rpartition(":")
    accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
    url = f"http://{registry}/v2/{name}/manifests/{tag}"
    answer = httpx.head(url, headers={"Accept": accept}, trust_env=False)
    answer.raise_for_status()
    found: str = answer.headers["Docker-Content-Digest"]
    return found


def untouched(model: Model) -> dict[str, object]:
    """What changes when a pod is replaced or restarted, or when its Deployment's template is written."""
    pods = {
        uid: [status["restartCount"] for status in pod["status"]["containerStatuses"]]
        for uid, pod in model.pods().items()
    }
    template = json.loads(model.kubectl("get", "deployment", model.name, "-o", "json"))["spec"]["template"]
    return {"pods": pods, "template": template}


def operator_pods(cluster: Cluster) -> dict[str, str]:
    """Image by pod uid."""
    selector = "app.kubernetes.io/component=operator"
    found = cluster.kubectl("-n", chart.NAMESPACE, "get", "pods", "-l", selector, "-o", "json")
    return {
        pod["metadata"]["uid"]: pod["spec"]["containers"][0]["image"]
        for pod in json.loads(found)["items"]
        if "deletionTimestamp" not in pod["metadata"]
    }


def test_no_pod_of_a_model_is_touched_and_no_request_fails_when_the_chart_is_upgraded_and_rolled_back(
    deploy: Deploy, installed: Cluster, images: Images
) -> None:
    model = deploy(replicas=2)
    model.wait_ready()
    before = untouched(model)
    first_operators = operator_pods(installed)
    first = revision(installed)
    try:
        with Load(model) as load:
            # Another operator: the image by digest, other settings.
            upgrade(
                installed,
                "--set", f"operator.image.digest={digest(images.operator)}",
                "--set", "operator.logLevel=DEBUG",
                "--set-string", "operator.podAnnotations.example\\.com/release=next",
                "--set", "networkPolicy.enabled=true",
            )  # fmt: skip
            second_operators = operator_pods(installed)
            assert not first_operators.keys() & second_operators.keys(), "the operator itself is replaced"
            assert all("@sha256:" in image for image in second_operators.values())
            time.sleep(SETTLE_SECONDS)
            assert untouched(model) == before
            # Another default image for models, and one that nobody can pull.
            upgrade(installed, "--set-string", "runtime.image.tag=not-there")
            time.sleep(SETTLE_SECONDS)
            assert untouched(model) == before
            assert model.conditions()["Ready"]["status"] == "True"
            chart.helm(
                installed, "rollback", chart.RELEASE, str(first), "--namespace", chart.NAMESPACE,
                "--wait", "--timeout", "3m",
            )  # fmt: skip
            assert set(operator_pods(installed).values()) == set(first_operators.values())
            time.sleep(SETTLE_SECONDS)
        assert load.failures == []
        assert load.answered > 100
        assert untouched(model) == before
    finally:
        chart.install(installed, images)
    # The operator that came back still acts.
    model.apply(replicas=1)
    model.wait_ready()


def test_a_change_of_a_model_takes_up_the_new_default_image_when_one_was_installed_meanwhile(
    deploy: Deploy, installed: Cluster, images: Images
) -> None:
    model = deploy()
    model.wait_ready()
    served = next(iter(model.pods().values()))["spec"]["containers"][0]["image"]
    by_digest = f"{images.runtime.rpartition(':')[0]}@{digest(images.runtime)}"
    try:
        upgrade(installed, "--set", f"runtime.image.digest={digest(images.runtime)}")
        time.sleep(SETTLE_SECONDS)
        assert {pod["spec"]["containers"][0]["image"] for pod in model.pods().values()} == {served}
        model.apply(traffic={"requestTimeoutSeconds": 21})
        model.wait_ready()
        newest = json.loads(model.kubectl("get", "deployment", model.name, "-o", "json"))
        assert newest["spec"]["template"]["spec"]["containers"][0]["image"] == by_digest
        assert model.answers()
    finally:
        chart.install(installed, images)
