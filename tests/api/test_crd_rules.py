"""Every rule of the CRD on a real API server: what is right is taken, what is wrong is refused in readable words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import kubernetes
import pytest

from slipway_operator.api.v1alpha1 import GROUP, PLURAL, VERSION
from slipway_operator.tools.crdgen import openapi_schema
from tests.api.accepted import ACCEPTED
from tests.api.manifests import Accepted, Manifest, Refused
from tests.api.refused import REFUSED, TYPOS
from tests.cluster.errors import ClusterError
from tests.cluster.lifecycle import Cluster

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("crd")]


@dataclass(frozen=True)
class Cause:
    """One error of a refusal."""

    field: str
    message: str


@pytest.fixture(scope="module")
def custom_objects(control_plane: Cluster) -> Iterator[kubernetes.client.CustomObjectsApi]:
    with kubernetes.config.new_client_from_config(str(control_plane.kubeconfig)) as client:
        yield kubernetes.client.CustomObjectsApi(client)


def create(api: kubernetes.client.CustomObjectsApi, manifest: Manifest) -> dict[str, Any]:
    """As stored, defaults filled in; nothing is kept."""
    return api.create_namespaced_custom_object(
        GROUP, VERSION, "default", PLURAL, manifest, dry_run="All", field_validation="Strict"
    )


def causes(api: kubernetes.client.CustomObjectsApi, manifest: Manifest) -> list[Cause]:
    with pytest.raises(kubernetes.client.ApiException) as caught:
        create(api, manifest)
    found = json.loads(caught.value.body)["details"]["causes"]
    return [Cause(cause["field"], cause["message"]) for cause in found if cause["field"] != "<nil>"]


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.title)
def test_a_manifest_is_accepted_when_it_has(case: Accepted, custom_objects: kubernetes.client.CustomObjectsApi) -> None:
    spec = create(custom_objects, case.manifest)["spec"]
    assert spec["artifact"]["uri"] == case.manifest["spec"]["artifact"]["uri"]


@pytest.mark.feature("cel", "all-errors")
@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.title)
def test_a_manifest_is_refused_with_path_rule_and_fix_when_it_has(
    case: Refused, custom_objects: kubernetes.client.CustomObjectsApi
) -> None:
    found = causes(custom_objects, case.manifest)
    (cause,) = [cause for cause in found if cause.field == case.path]
    for words in case.words:
        assert words in cause.message
    # `/scale` has a check of its own on the same field, with a point in front.
    assert {other.field.removeprefix(".") for other in found} == {case.path}, "one mistake gets one answer"
    if case.hidden:
        assert case.hidden not in str(found)


@pytest.mark.parametrize("case", TYPOS, ids=lambda case: case.title)
def test_kubectl_answers_readably_when_a_user_has(case: Refused, control_plane: Cluster, namespace: str) -> None:
    with pytest.raises(ClusterError) as caught:
        control_plane.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(case.manifest))
    answer = str(caught.value)
    for words in (case.path, *case.words):
        assert words in answer
    assert len(answer) < 1000


def cel_messages(schema: dict[str, Any]) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield rule["messageExpression"]
    for child in (*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")):
        if child is not None:
            yield from cel_messages(child)


def test_every_rule_refuses_at_least_one_of_the_cases(custom_objects: kubernetes.client.CustomObjectsApi) -> None:
    """The longest constant text of each rule's message turns up in some answer."""
    answers = "\n".join(cause.message for case in REFUSED for cause in causes(custom_objects, case.manifest))
    for message in set(cel_messages(openapi_schema())):
        constant = max((json.loads(text) for text in re.findall(r'"(?:[^"\\]|\\.)*"', message)), key=len)
        assert constant in answers, f"no case breaks the rule that says: {constant}"
