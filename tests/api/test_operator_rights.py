"""The table of rights is what the operator uses: no less, no more, in each mode."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from slipway_operator.api.v1alpha1 import GROUP
from slipway_operator.names import child_labels
from slipway_operator.rbac import CLUSTER_PERMISSIONS, PERMISSIONS, Permission, lease_permissions
from tests.cluster.lifecycle import Cluster
from tests.fixtures.audit import Use, uses
from tests.fixtures.gateway import GatewayCrds, absent_at_first, gateway
from tests.fixtures.grants import LEASE, allow
from tests.fixtures.objects import Manifest, Objects
from tests.fixtures.operator import Models, OperatorProcess, operator_process

pytestmark = pytest.mark.api

WITH_INGRESS: Final[dict[str, Any]] = {
    "replicas": 2,
    "exposure": {"ingress": {"host": "digits.example.com"}},
    "networkPolicy": {"clients": [{"namespaceSelector": {}}]},
}
ASKED_BY_ADMISSION: Final[set[Use]] = {(GROUP, "modeldeployments/finalizers", "update")}
"""No request of the operator's: OpenShift asks for it when an owner reference blocks deletion."""
STRAYS: Final[dict[str, tuple[str, Manifest]]] = {
    "Deployment": (
        "apps/v1",
        {
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": {"a": "b"}},
                "template": {
                    "metadata": {"labels": {"a": "b"}},
                    "spec": {"containers": [{"name": "a", "image": "example.com/a"}]},
                },
            }
        },
    ),
    "Service": ("v1", {"spec": {"ports": [{"port": 80}]}}),
    "ConfigMap": ("v1", {}),
    "ServiceAccount": ("v1", {}),
    "ControllerRevision": ("apps/v1", {"revision": 1, "data": {"of": "nobody"}}),
}
"""Kinds of which a child is always wanted; one of another name is not."""


def granted(*permissions: Permission) -> set[Use]:
    return {(item.group, item.resource, verb) for item in permissions for verb in item.verbs}


@pytest.fixture
def gateway_api(cluster: Cluster) -> Iterator[GatewayCrds]:
    with absent_at_first(cluster) as crds:
        crds.install()
        yield crds


@pytest.fixture(params=[False, True], ids=["some namespaces", "the whole cluster"])
def either(
    request: pytest.FixtureRequest,
    cluster: Cluster,
    objects: Objects,
    crd: str,
    gateway_api: GatewayCrds,
    tmp_path: Path,
) -> Iterator[tuple[OperatorProcess, set[Use]]]:
    """The operator, and what it may do."""
    if cluster.state is None:
        pytest.skip("the audit log of KUBECONFIG's API server is not ours to read; unset it")
    found = operator_process(cluster, objects, tmp_path, cluster_wide=request.param)
    yield found, granted(*PERMISSIONS, *lease_permissions(LEASE), *(CLUSTER_PERMISSIONS if request.param else ()))
    found.kill()


@pytest.mark.timeout(300)
def test_every_right_is_used_and_nothing_else_is_asked_for(
    cluster: Cluster, models: Models, objects: Objects, either: tuple[OperatorProcess, set[Use]]
) -> None:
    operator, rights = either
    assert cluster.state is not None
    operator.start()
    gateway(objects)
    created = models.create(**WITH_INGRESS)
    models.wait_condition("Accepted", "True", "Valid")
    objects.wait_for("ingress", "digits", lambda found: True, what="made")
    models.change(
        replicas=1, networkPolicy=None, exposure={"ingress": None, "gateway": {"parentRefs": [{"name": "edge"}]}}
    )
    objects.wait_for("httproute", "digits", lambda found: True, what="made")
    models.change(exposure=None)
    objects.wait_gone("httproute", "digits")
    for kind in STRAYS:
        objects.create(stray(kind, created))
    for _ in range(2):
        # Twice the same news of one object: the second is counted on the first.
        models.change(artifact={"uri": "file:///models/digits.pt"})
        models.wait_condition("Accepted", "False", "SchemeNotAllowed")
        models.change(artifact={"uri": "s3://models/digits.pt"})
        models.wait_condition("Accepted", "True", "Valid")
    for kind in STRAYS:
        objects.wait_gone(kind, "stray")
    operator.settle()
    assert operator.stop() == 0
    used, refused = uses(cluster.state, objects.namespace)
    assert refused == set()
    assert used - rights == set(), "used and not in the table"
    assert rights - used - ASKED_BY_ADMISSION == set(), "in the table and never used"


def stray(kind: str, owner: Manifest) -> Manifest:
    """A child of the model's that it has no use for, as an older version might have left behind."""
    version, body = STRAYS[kind]
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    labels = child_labels(owner["metadata"]["name"])
    metadata = {"name": "stray", "labels": labels, "ownerReferences": [reference]}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **json.loads(json.dumps(body))}


def test_several_namespaces_are_served_with_a_role_in_each_and_no_other_is(
    cluster: Cluster, models: Models, objects: Objects, tmp_path: Path
) -> None:
    names = [f"{objects.namespace[:50]}-{word}" for word in ("served", "foreign")]
    served, foreign = (Objects(cluster, name) for name in names)
    for name in names:
        objects.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    operator = operator_process(cluster, objects, tmp_path, cluster_wide=False, others=(names[0],))
    try:
        operator.start()
        for each in (objects, served, foreign):
            Models(each).create()
        for each in (objects, served):
            Models(each).wait_condition("Accepted", "True", "Valid")
            each.delete("service", "digits")
            each.wait_for("service", "digits", lambda found: True, what="made anew")
        assert foreign.list("deployments") == []
        assert 'code="403"' not in operator.fetch("/metrics")[1]
    finally:
        operator.kill()
        for name in names:
            objects.kubectl("delete", "namespace", name, "--wait=false")


def test_a_namespace_that_goes_takes_nothing_from_the_others_and_is_served_when_it_is_made_anew(
    cluster: Cluster, models: Models, objects: Objects, tmp_path: Path
) -> None:
    name = f"{objects.namespace[:50]}-other"
    other = Objects(cluster, name)
    objects.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    operator = operator_process(cluster, objects, tmp_path, cluster_wide=False, others=(name,))
    try:
        operator.start()
        Models(other).create()
        Models(other).wait_condition("Accepted", "True", "Valid")
        objects.kubectl("delete", "namespace", name)
        assert operator.stop() == 0
        operator.start()
        assert name in operator.log.read_text()
        models.create()
        models.wait_condition("Accepted", "True", "Valid")
        assert operator.metric("namespaces_closed") == 1
        objects.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        Models(other).create()
        allow(objects, name)
        Models(other).wait_condition("Accepted", "True", "Valid")
        assert operator.metric("namespaces_closed") == 0
        other.delete("service", "digits")
        other.wait_for("service", "digits", lambda found: True, what="made anew")
    finally:
        operator.kill()
        objects.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")
