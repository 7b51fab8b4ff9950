"""Pods of every kind on a real API server: rendered once, put back when changed, and replaced where GPUs are short."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from tests.fixtures.objects import Manifest, Objects
from tests.fixtures.operator import REPAIR_SECONDS, Models, OperatorProcess, condition, unscheduled

pytestmark = pytest.mark.api

CUSTOM: Final[dict[str, Any]] = {
    "artifact": {"uri": "s3://models/digits.pt", "cache": {"sizeLimit": "2048Mi"}},
    "runtime": {
        "engine": "Custom",
        "image": "registry.example.com/team/app@sha256:" + "0" * 64,
        "args": ["--fast"],
        "envFrom": [{"configMapRef": {"name": "settings", "optional": False}}],
        "container": {
            "port": 3000,
            "command": ["python", "app.py"],
            "livenessPath": "/live",
            "metricsPath": "/metrics",
        },
    },
    "resources": {"gpu": {"count": 2}, "sharedMemory": "1024Mi", "limits": {"memory": "4Gi"}},
}
SURGE: Final = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
REPLACE: Final = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
NO_GPU: Final = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."


def deployment(objects: Objects) -> Manifest:
    return objects.wait_for("deployment", "digits", lambda found: True, what="made")


def has_strategy(wanted: Manifest) -> Any:
    return lambda found: found["spec"]["strategy"] == wanted


def test_a_custom_server_is_rendered_as_the_api_server_keeps_it(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    models.create(**CUSTOM)
    pod = deployment(objects)["spec"]["template"]["spec"]
    assert [item["name"] for item in pod["initContainers"]] == ["fetch"]
    assert pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] > 0
    models.make_ready(models.wait_pods(1))
    writes = operator.settle()
    objects.patch("modeldeployment", "digits", {"metadata": {"labels": {"touched": "yes"}}})
    assert operator.settle() == writes, "quantities and defaults as the API server writes them are no difference"


@pytest.mark.parametrize(
    "edit",
    [
        {"initContainers": [{"name": "fetch", "image": "registry.example.com/other:1"}]},
        {"tolerations": [{"operator": "Exists"}]},
        {"terminationGracePeriodSeconds": 20},
    ],
    ids=lambda edit: next(iter(edit)),
)
def test_what_is_changed_by_hand_in_the_pods_is_put_back(
    models: Models, objects: Objects, operator: OperatorProcess, edit: Manifest
) -> None:
    models.create(**CUSTOM)
    wanted = deployment(objects)["spec"]["template"]
    patch = json.dumps({"spec": {"template": {"spec": edit}}})
    objects.kubectl("patch", "deployment", "digits", "--type=strategic", f"--patch={patch}")
    objects.wait_for(
        "deployment",
        "digits",
        lambda found: found["spec"]["template"] == wanted,
        what="put back",
        timeout_seconds=REPAIR_SECONDS,
    )


@pytest.mark.feature("gpu-surge")
def test_the_strategy_follows_the_scheduler_and_comes_back(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    models.create(resources={"gpu": {"count": 1}}, rollout={"surgeTimeoutSeconds": 0})
    (old,) = models.wait_pods(1)
    bind(objects, old)
    models.make_ready([old])
    objects.wait_for("deployment", "digits", has_strategy(SURGE), what="surges")
    models.wait_template(models.change(traffic={"requestTimeoutSeconds": 60}))
    (new,) = models.wait_pods(1, template=models.template())
    models.play(new, unscheduled(NO_GPU))
    told = models.wait_condition("Progressing", "True", "ReplacingPods")
    assert "nvidia.com/gpu" in condition(told, "Progressing")["message"]
    objects.wait_for(
        "pod", old["metadata"]["name"], lambda found: "deletionTimestamp" in found["metadata"], what="the old pod ends"
    )
    assert deployment(objects)["spec"]["strategy"] == REPLACE, "it holds its GPU until it is gone"
    objects.kubectl("delete", "pod", old["metadata"]["name"], "--grace-period=0", "--force")
    models.make_ready([new])
    objects.wait_for("deployment", "digits", has_strategy(SURGE), what="surges again")
    assert [pod["metadata"]["name"] for pod in models.pods()] == [new["metadata"]["name"]]


def bind(objects: Objects, pod: Manifest) -> None:
    """Give the pod a node, as the scheduler would."""
    name = pod["metadata"]["name"]
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "node1"},
    }
    path = f"/api/v1/namespaces/{objects.namespace}/pods/{name}/binding"
    objects.kubectl("create", "--raw", path, "--filename=-", stdin=json.dumps(binding))
