"""The CRD on a real API server beyond its rules: subresources, columns, defaults, merging, explanations."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slipway_operator.api.v1alpha1 import PRINTER_COLUMNS
from slipway_operator.names import STATUS_FIELD_MANAGER
from tests.api.manifests import EVERY_FIELD, Manifest, manifest
from tests.cluster.errors import ClusterError
from tests.cluster.lifecycle import Cluster

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("crd")]

TIME = "2026-01-31T12:00:00Z"
UNSEEN: Manifest = {"observedGeneration": -1}
"""The status of an object that no operator has looked at."""
STATUS: Manifest = {
    "observedGeneration": 1,
    "conditions": [
        {
            "type": "Ready",
            "status": "False",
            "observedGeneration": 1,
            "lastTransitionTime": TIME,
            "reason": "ArtifactNotFound",
            "message": "s3://models/digits.pt: no such key.",
        }
    ],
    "url": "http://digits.example.com/",
    "replicas": 2,
    "readyReplicas": 1,
    "selector": "app.kubernetes.io/instance=digits",
    "replicaSummary": "1/2",
}


def apply(cluster: Cluster, namespace: str, document: Manifest, *flags: str) -> None:
    cluster.kubectl("-n", namespace, "apply", "--server-side", *flags, "-f", "-", stdin=json.dumps(document))


def apply_status(cluster: Cluster, namespace: str, status: Manifest) -> None:
    document = {key: value for key, value in manifest().items() if key != "spec"} | {"status": status}
    apply(cluster, namespace, document, "--subresource=status", f"--field-manager={STATUS_FIELD_MANAGER}")


def read(cluster: Cluster, namespace: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cluster.kubectl("-n", namespace, "get", "mdep", "digits", "-o", "json"))
    return found


def test_defaults_are_filled_in_and_stay_when_the_stored_object_is_applied_again(
    control_plane: Cluster, namespace: str
) -> None:
    apply(control_plane, namespace, manifest())
    stored = read(control_plane, namespace)
    assert stored["spec"] == {
        "artifact": {"uri": "s3://models/digits.pt", "format": "Auto", "stallTimeoutSeconds": 120},
        "replicas": 1,
        "paused": False,
    }
    control_plane.kubectl("-n", namespace, "replace", "-f", "-", stdin=json.dumps(stored))
    again = read(control_plane, namespace)
    assert again["spec"] == stored["spec"]
    assert again["metadata"]["generation"] == 1


def test_every_field_is_kept_when_it_is_applied(control_plane: Cluster, namespace: str) -> None:
    apply(control_plane, namespace, EVERY_FIELD)
    assert read(control_plane, namespace)["spec"] == EVERY_FIELD["spec"]


@pytest.mark.feature("scale-subresource")
def test_kubectl_scale_sets_the_replicas_and_reads_the_status(control_plane: Cluster, namespace: str) -> None:
    apply(control_plane, namespace, manifest())
    apply_status(control_plane, namespace, STATUS)
    control_plane.kubectl("-n", namespace, "scale", "mdep/digits", "--replicas=5")
    assert read(control_plane, namespace)["spec"]["replicas"] == 5
    path = f"/apis/slipway.dev/v1alpha1/namespaces/{namespace}/modeldeployments/digits/scale"
    scale = json.loads(control_plane.kubectl("get", "--raw", path))
    assert scale["spec"] == {"replicas": 5}
    assert scale["status"] == {"replicas": 2, "selector": "app.kubernetes.io/instance=digits"}


def test_spec_and_status_are_apart_when_either_is_written(control_plane: Cluster, namespace: str) -> None:
    apply(control_plane, namespace, manifest() | {"status": STATUS})
    assert read(control_plane, namespace)["status"] == UNSEEN, "a user's manifest cannot set the status"
    apply_status(control_plane, namespace, STATUS)
    written = read(control_plane, namespace)
    assert written["status"] == STATUS
    assert written["metadata"]["generation"] == 1, "a status is no new generation"


def test_conditions_merge_by_type_when_two_managers_apply_them(control_plane: Cluster, namespace: str) -> None:
    apply(control_plane, namespace, manifest())
    apply_status(control_plane, namespace, STATUS)
    document = {key: value for key, value in manifest().items() if key != "spec"}
    other = STATUS["conditions"][0] | {"type": "Certified", "status": "True", "reason": "Reviewed"}
    document["status"] = {"conditions": [other]}
    apply(control_plane, namespace, document, "--subresource=status", "--field-manager=someone-else")
    types = {condition["type"] for condition in read(control_plane, namespace)["status"]["conditions"]}
    assert types == {"Ready", "Certified"}


def test_variables_merge_by_name_when_two_managers_apply_them(control_plane: Cluster, namespace: str) -> None:
    first = manifest({"runtime": {"env": [{"name": "A", "value": "1"}]}})
    second = manifest({"runtime": {"env": [{"name": "B", "value": "2"}]}})
    apply(control_plane, namespace, first, "--field-manager=first")
    apply(control_plane, namespace, second, "--field-manager=second")
    assert read(control_plane, namespace)["spec"]["runtime"]["env"] == [
        {"name": "A", "value": "1"},
        {"name": "B", "value": "2"},
    ]


def test_a_status_is_refused_when_it_breaks_the_shape_of_conditions(control_plane: Cluster, namespace: str) -> None:
    apply(control_plane, namespace, manifest())
    broken = STATUS | {"conditions": [STATUS["conditions"][0] | {"reason": "two words"}]}
    with pytest.raises(ClusterError, match=r"status\.conditions\[0\]\.reason"):
        apply_status(control_plane, namespace, broken)


@pytest.mark.feature("replicas-column")
def test_kubectl_get_shows_state_reason_and_gpus(control_plane: Cluster, namespace: str) -> None:
    apply(control_plane, namespace, manifest({"resources": {"gpu": {"count": 2}}}))
    apply_status(control_plane, namespace, STATUS)
    header, row = control_plane.kubectl("-n", namespace, "get", "mdep").splitlines()
    shown = [column["name"].upper() for column in PRINTER_COLUMNS if not column.get("priority")]
    assert header.split() == ["NAME", *shown]
    assert row.split()[:-1] == ["digits", "False", "1/2", "http://digits.example.com/", "2", "ArtifactNotFound"]
    wide = control_plane.kubectl("-n", namespace, "get", "slipway", "-o", "wide")
    assert "s3://models/digits.pt: no such key." in wide


def test_an_unknown_field_is_dropped_when_validation_is_not_strict(control_plane: Cluster, namespace: str) -> None:
    document = json.dumps(manifest({"colour": "blue"}))
    control_plane.kubectl("-n", namespace, "create", "--validate=ignore", "-f", "-", stdin=document)
    assert "colour" not in read(control_plane, namespace)["spec"]
