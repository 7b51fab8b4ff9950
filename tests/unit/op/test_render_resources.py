"""What pods ask of their nodes: GPUs and leave to run beside them, shared memory, room on disk."""

from __future__ import annotations

from typing import Any

import pytest

from slipway_operator.api.v1alpha1 import ModelDeploymentSpec
from slipway_operator.render.children import render_children
from slipway_operator.render.manifest import Manifest
from tests.unit.op.test_render import OWNER, SETTINGS

pytestmark = pytest.mark.unit


def pod(**spec: Any) -> Manifest:
    given = {"artifact": {"uri": "s3://models/digits.pt"}} | spec
    children = render_children(OWNER, ModelDeploymentSpec.model_validate(given), SETTINGS)
    found: Manifest = children[-1]["spec"]["template"]["spec"]
    return found


def tolerated(pod: Manifest) -> list[str]:
    return [item["key"] for item in pod.get("tolerations", [])]


def volume(pod: Manifest, name: str) -> Manifest | None:
    return next((item["emptyDir"] for item in pod["volumes"] if item["name"] == name), None)


def mounted(pod: Manifest, name: str) -> list[str]:
    return [item["mountPath"] for item in pod["containers"][0]["volumeMounts"] if item["name"] == name]


@pytest.mark.parametrize(
    ("resource", "keys"),
    [
        ("nvidia.com/gpu", ["nvidia.com/gpu"]),
        ("nvidia.com/mig-1g.5gb", ["nvidia.com/gpu", "nvidia.com/mig-1g.5gb"]),
        ("amd.com/gpu", ["amd.com/gpu"]),
    ],
)
def test_nodes_with_the_wanted_gpus_are_tolerated(resource: str, keys: list[str]) -> None:
    given = pod(resources={"gpu": {"count": 1, "resourceName": resource}})
    assert tolerated(given) == keys
    assert all(item["effect"] == "NoSchedule" and item["operator"] == "Exists" for item in given["tolerations"])
    amounts = given["containers"][0]["resources"]
    assert amounts["limits"] == amounts["requests"] == {resource: "1"}


def test_no_gpu_tolerates_nothing() -> None:
    assert "tolerations" not in pod(resources={"gpu": {"count": 0}})
    assert "tolerations" not in pod()


def test_a_users_tolerations_stand_beside_those_for_gpus_and_none_twice() -> None:
    spot = {"key": "spot", "operator": "Exists"}
    same = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    given = pod(resources={"gpu": {"count": 1}}, podTemplate={"tolerations": [same, spot]})
    assert tolerated(given) == ["nvidia.com/gpu", "spot"]
    assert tolerated(pod(podTemplate={"tolerations": [spot]})) == ["spot"]


def test_shared_memory_is_as_large_as_asked_for_and_in_memory() -> None:
    given = pod(resources={"sharedMemory": "2Gi"})
    assert volume(given, "shm") == {"medium": "Memory", "sizeLimit": "2Gi"}
    assert mounted(given, "shm") == ["/dev/shm"]


def test_several_gpus_share_as_much_memory_as_the_pod_may_have() -> None:
    assert volume(pod(resources={"gpu": {"count": 2}}), "shm") == {"medium": "Memory"}
    assert volume(pod(resources={"gpu": {"count": 1}}), "shm") is None
    assert mounted(pod(), "shm") == []


def test_a_stated_size_bounds_the_folder_and_asks_the_node_for_the_room() -> None:
    given = pod(artifact={"uri": "s3://models/digits.pt", "cache": {"sizeLimit": "20Gi"}})
    assert volume(given, "cache") == {"sizeLimit": "20Gi"}
    assert given["containers"][0]["resources"] == {"requests": {"ephemeral-storage": "20Gi"}}
    assert volume(pod(), "cache") == {}


@pytest.mark.parametrize("kind", ["requests", "limits"])
def test_what_the_user_asks_of_the_disk_wins(kind: str) -> None:
    given = pod(
        artifact={"uri": "s3://models/digits.pt", "cache": {"sizeLimit": "20Gi"}},
        resources={kind: {"ephemeral-storage": "30Gi"}},
    )
    assert given["containers"][0]["resources"] == {kind: {"ephemeral-storage": "30Gi"}}
