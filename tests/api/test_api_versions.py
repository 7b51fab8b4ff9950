"""A second version of the API, as docs/api-versions.md promises it: nothing is lost on the way there and back.

The versions are those of a copy of the CRD in a group of its own, so that no other test meets them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final

import pytest

from slipway_operator.api.v1alpha1 import PLURAL
from slipway_operator.tools.crdgen import build_crd
from tests.api.manifests import EVERY_FIELD, Manifest
from tests.cluster.lifecycle import Cluster
from tests.fixtures.crds import wait_established

pytestmark = pytest.mark.api

GROUP: Final = "versions.slipway.dev"
CRD: Final = f"{PLURAL}.{GROUP}"
OLD: Final = "v1alpha1"
NEW: Final = "v1beta1"
STATUS: Final = {"observedGeneration": 1, "replicas": 2, "replicaSummary": "2/3", "url": "http://digits.example.com/"}


def two_versions(*, storage: str, old_served: bool = True) -> Manifest:
    """The CRD of today with a second version of the same schema; the API server changes nothing but `apiVersion`."""
    crd = build_crd()
    crd["metadata"]["name"] = CRD
    spec = crd["spec"]
    spec["group"] = GROUP
    del spec["names"]["shortNames"], spec["names"]["categories"]
    (old,) = spec["versions"]
    new = deepcopy(old) | {"name": NEW}
    old |= {"deprecated": True, "deprecationWarning": f"{GROUP}/{OLD} goes: write {NEW}", "served": old_served}
    for version in (old, new):
        version["storage"] = version["name"] == storage
    spec["versions"] = [old, new]
    spec["conversion"] = {"strategy": "None"}
    return crd


@pytest.fixture
def cluster_with_versions(control_plane: Cluster) -> Iterator[Cluster]:
    install(control_plane, two_versions(storage=OLD))
    yield control_plane
    control_plane.kubectl("delete", "crd", CRD, "--wait")


def install(cluster: Cluster, crd: Manifest) -> None:
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(crd))
    wait_established(cluster, CRD)
    cluster.kubectl("get", CRD)


def read(cluster: Cluster, namespace: str, version: str) -> dict[str, Any]:
    kind = f"{PLURAL}.{version}.{GROUP}"
    found: dict[str, Any] = json.loads(cluster.kubectl("-n", namespace, "get", kind, "digits", "-o", "json"))
    assert found["apiVersion"] == f"{GROUP}/{version}"
    return found


def write(cluster: Cluster, namespace: str, found: dict[str, Any], *flags: str) -> None:
    cluster.kubectl("-n", namespace, "replace", "-f", "-", *flags, stdin=json.dumps(found))


def test_every_field_survives_the_way_to_the_next_version_and_back(
    cluster_with_versions: Cluster, namespace: str
) -> None:
    cluster = cluster_with_versions
    text = json.dumps(EVERY_FIELD | {"apiVersion": f"{GROUP}/{OLD}"})
    cluster.kubectl("-n", namespace, "create", "-f", "-", stdin=text)
    write(cluster, namespace, read(cluster, namespace, OLD) | {"status": STATUS}, "--subresource=status")
    original = read(cluster, namespace, OLD)
    assert original["spec"].items() >= EVERY_FIELD["spec"].items()

    write(cluster, namespace, read(cluster, namespace, NEW))
    install(cluster, two_versions(storage=NEW))
    write(cluster, namespace, read(cluster, namespace, NEW))
    back = read(cluster, namespace, OLD)
    assert (back["spec"], back["status"]) == (original["spec"], STATUS)
    assert back["metadata"]["generation"] == original["metadata"]["generation"], "a version is no change of the spec"
    assert back["metadata"]["uid"] == original["metadata"]["uid"]


def test_the_old_version_can_go_once_every_object_was_written_in_the_new_one(
    cluster_with_versions: Cluster, namespace: str
) -> None:
    cluster = cluster_with_versions
    text = json.dumps(EVERY_FIELD | {"apiVersion": f"{GROUP}/{OLD}"})
    cluster.kubectl("-n", namespace, "create", "-f", "-", stdin=text)
    install(cluster, two_versions(storage=NEW))
    stored = json.loads(cluster.kubectl("get", "crd", CRD, "-o", "json"))["status"]["storedVersions"]
    assert stored == [OLD, NEW]
    write(cluster, namespace, read(cluster, namespace, NEW))
    patch = json.dumps({"status": {"storedVersions": [NEW]}})
    cluster.kubectl("patch", "crd", CRD, "--subresource=status", "--type=merge", f"--patch={patch}")
    install(cluster, two_versions(storage=NEW, old_served=False))
    assert read(cluster, namespace, NEW)["spec"].items() >= EVERY_FIELD["spec"].items()
