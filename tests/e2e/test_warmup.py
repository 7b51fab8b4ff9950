"""What pods warm up with, from a ConfigMap of the user's, and how much each takes at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import httpx
import pytest

from tests.cluster.lifecycle import Cluster
from tests.e2e.conftest import Digits, make_deploy
from tests.e2e.models import QUICK_START, Model
from tests.fixtures.waiting import wait_until
from tests.stack.store import Store

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NAMESPACE: Final = "slipway-e2e-warmup"
SAMPLES: Final = "digits-warmup"
WINDOW_MILLISECONDS: Final = 3000
"""How long a lone request waits on purpose, so that another one finds it in flight."""
FAILURE_SECONDS: Final = 120
IMAGE: Final[dict[str, Any]] = {"name": "image", "datatype": "FP32", "shape": [-1, 1, 8, 8]}


@pytest.fixture(scope="module")
def model(installed: Cluster, store: Store, digits: Digits) -> Iterator[Model]:
    """Asks for samples that nobody has written yet."""
    installed.kubectl("create", "namespace", NAMESPACE)
    yield make_deploy(installed, store, digits, NAMESPACE)(runtime=with_samples())
    installed.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def with_samples(**more: str) -> dict[str, Any]:
    return QUICK_START | {"warmup": {"configMapRef": {"name": SAMPLES} | more}}


def write_samples(model: Model) -> None:
    data = {
        "samples.json": json.dumps([{"inputs": [IMAGE]}]),
        "broken.json": json.dumps([{"inputs": [IMAGE]}, {"inputs": [IMAGE | {"shape": [0, 1, 8, 8]}]}]),
        "unfit.json": json.dumps([{"inputs": [IMAGE | {"shape": [-1, 3, 8, 8]}]}]),
    }
    metadata = {"name": SAMPLES, "namespace": NAMESPACE}
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    model.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))


@pytest.fixture(scope="module")
def warm(model: Model) -> Model:
    """It has found its samples."""
    write_samples(model)
    model.wait_ready()
    return model


def test_missing_samples_are_named_and_used_once_they_are_there(model: Model) -> None:
    """Then Ready rests on a prediction through the Service, as ever."""
    conditions = model.wait_reason("InvalidConfig")
    failure = model.get()["status"]["lastFailure"]
    assert failure["stage"] == "Config"
    for words in (f"no ConfigMap {SAMPLES} with the key samples.json", "spec.runtime.warmup.configMapRef"):
        assert words in failure["message"]
        assert words in conditions["Ready"]["message"]

    write_samples(model)
    model.wait_ready()
    assert model.get()["status"].get("verification")
    assert model.answers()


@pytest.mark.parametrize(
    ("key", "reason", "words"),
    [
        ("none.json", "InvalidConfig", ("with the key none.json",)),
        ("broken.json", "InvalidConfig", ("key broken.json", "[1].inputs[0].shape[0]", "got 0", "Write -1")),
        ("unfit.json", "WarmUpFailed", ("Warm-up sample 1 has", "[-1, 3, 8, 8]", "the model takes")),
    ],
)
def test_samples_that_cannot_be_used_keep_a_revision_from_serving_and_not_the_one_before(
    warm: Model, key: str, reason: str, words: tuple[str, ...]
) -> None:
    warm.apply(runtime=with_samples(key=key))
    # Pods of the revision before fail for the same reason until they are gone.
    wait_until(
        lambda: all(part in last_failure(warm) for part in words), lambda: last_failure(warm), seconds=FAILURE_SECONDS
    )
    ready = warm.wait_reason(reason)["Ready"]
    assert words[-1] in ready["message"]
    assert warm.answers()


def last_failure(model: Model) -> str:
    return str(model.get()["status"].get("lastFailure", {}).get("message", ""))


def test_one_request_too_many_is_refused_through_the_service_and_the_next_is_not(warm: Model) -> None:
    warm.apply(
        runtime=with_samples(),
        batching={"mode": "Static", "maxBatchSize": 2, "maxQueueDelayMilliseconds": WINDOW_MILLISECONDS},
        traffic={"maxConcurrency": 1},
    )
    warm.wait_ready()
    # One of the revision before has no bound.
    wait_until(lambda: len(warm.pods()) <= 1, lambda: f"one pod, there are {list(warm.pods())}")
    url = f"http://{warm.service_address()}/v2/models/{warm.name}"
    image = IMAGE | {"shape": [1, 1, 8, 8], "data": [warm.samples[0]["image"]]}

    def ask() -> httpx.Response:
        return httpx.post(f"{url}/infer", json={"inputs": [image]}, timeout=30, trust_env=False)

    with ThreadPoolExecutor(2) as clients:
        answers = [clients.submit(ask) for _ in range(2)]
        answered, refused = sorted((answer.result() for answer in answers), key=lambda answer: answer.status_code)
    assert answered.status_code == 200, answered.text
    assert (refused.status_code, refused.json()["code"]) == (429, "concurrency_limit")
    assert "spec.traffic.maxConcurrency" in refused.json()["error"]
    assert int(refused.headers["retry-after"]) >= 1
    assert ask().status_code == 200
