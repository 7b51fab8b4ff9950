"""An object that takes a child's name in the moment before the child is made stays as it is, on a real API server."""

from __future__ import annotations

import asyncio

import pytest
from kubernetes.aio import config
from kubernetes.aio.client import Configuration

from slipway_operator.api.v1alpha1 import ModelDeploymentSpec
from slipway_operator.errors import ConflictError
from slipway_operator.kube import AioKubeApi
from slipway_operator.metrics import Metrics
from slipway_operator.render.children import render_children
from slipway_operator.render.manifest import Owner, RenderSettings
from slipway_operator.render.pods import render_pods
from slipway_operator.render.revision import Revision, render_revision
from slipway_operator.resources import CHILDREN, child_ref
from slipway_operator.throttle import TokenBucket
from tests.cluster.lifecycle import Cluster
from tests.fixtures.objects import Manifest, Objects
from tests.fixtures.operator import RUNTIME_IMAGE

pytestmark = pytest.mark.api

SPEC = ModelDeploymentSpec.model_validate(
    {
        "artifact": {"uri": "s3://models/digits.pt"},
        "replicas": 2,
        "exposure": {"ingress": {"host": "digits.example.com"}},
        "networkPolicy": {"clients": [{"namespaceSelector": {}}]},
    }
)


def children(namespace: str) -> list[Manifest]:
    """One of each kind."""
    owner, settings = Owner(namespace, "digits", "6f0d1c9e-0000-4000-8000-000000000000"), RenderSettings(RUNTIME_IMAGE)
    revision = Revision("digits-1", 1, {"artifact": {"uri": SPEC.artifact.uri}}, render_pods(owner, SPEC, settings))
    found = [*render_children(owner, SPEC, settings), render_revision(owner, revision)]
    assert {manifest["kind"] for manifest in found} == {resource.kind for resource in CHILDREN}
    return found


def test_a_child_is_made_where_nothing_is_and_what_is_there_is_not_adopted(
    control_plane: Cluster, objects: Objects
) -> None:
    manifests = children(objects.namespace)
    # The same fields with the same values, so that nothing else stands against sharing them.
    strangers = [
        objects.create(manifest | {"metadata": {name: manifest["metadata"][name] for name in ("name", "namespace")}})
        for manifest in manifests
    ]

    async def scenario() -> None:
        configuration = Configuration()
        await config.load_kube_config(str(control_plane.kubeconfig), client_configuration=configuration)
        api = AioKubeApi(configuration, TokenBucket(1000), Metrics(), lambda: 10.0)
        try:
            for manifest in manifests:
                with pytest.raises(ConflictError):
                    await api.apply(child_ref(manifest), manifest, None)
            for stranger in strangers:
                kept = await api.get(child_ref(stranger).resource, objects.namespace, stranger["metadata"]["name"])
                assert kept is not None
                assert kept["metadata"].get("ownerReferences") is None
                assert {entry["manager"] for entry in kept["metadata"]["managedFields"]}.isdisjoint(
                    {"slipway-operator"}
                )
                await api.delete(child_ref(stranger), objects.namespace, stranger["metadata"]["uid"])
            for manifest in manifests:
                ref = child_ref(manifest)
                # Without an owner: the one of the test is made up, and its children would be collected.
                orphan = manifest | {
                    "metadata": {**manifest["metadata"], "name": f"{ref.name}-2", "ownerReferences": []}
                }
                made = await api.apply(child_ref(orphan), orphan, None)
                again = await api.apply(child_ref(orphan), orphan, made["metadata"]["uid"])
                assert again["metadata"]["uid"] == made["metadata"]["uid"]
        finally:
            await api.close()

    asyncio.run(scenario())
