"""`slipway render` prints what the operator would apply, and what a reader or kubectl can take as it stands."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from slipway.manifest import read_documents
from slipway.render import render_yaml
from slipway.validation import ValidModel
from slipway_operator.api.v1alpha1 import ModelDeploymentSpec
from slipway_operator.render.children import render_children
from slipway_operator.render.manifest import Owner, RenderSettings
from tests.api.manifests import EVERY_FIELD

pytestmark = pytest.mark.unit

SETTINGS = RenderSettings(runtime_image="registry.example.com/runtime:1")


def model(namespace: str | None = None, **blocks: Any) -> ValidModel:
    spec = ModelDeploymentSpec.model_validate({"artifact": {"uri": "s3://models/digits.pt"}} | blocks)
    return ValidModel("model.yaml", namespace, "digits", spec)


def documents(text: str) -> list[dict[str, Any]]:
    return [document.value for document in read_documents("rendered", text)]


def test_the_children_are_those_of_the_operator_when_rendered_here() -> None:
    every = model("vision", **EVERY_FIELD["spec"])
    expected = render_children(Owner("vision", "digits", "u"), every.spec, SETTINGS)
    for child in expected:
        del child["metadata"]["ownerReferences"]
    assert documents(render_yaml(every, None, SETTINGS)) == expected


def test_no_owner_is_invented_when_the_uid_is_unknown() -> None:
    text = render_yaml(model(), None, SETTINGS)
    assert all("ownerReferences" not in document["metadata"] for document in documents(text))
    assert text.startswith("# ModelDeployment default/digits, from model.yaml\n# Left out")


@pytest.mark.parametrize(
    ("own", "flag", "expected"), [(None, None, "default"), ("a", None, "a"), ("a", "b", "b"), (None, "b", "b")]
)
def test_the_namespace_is_the_flags_then_the_manifests_when_given(
    own: str | None, flag: str | None, expected: str
) -> None:
    found = documents(render_yaml(model(own), flag, SETTINGS))
    assert {document["metadata"]["namespace"] for document in found} == {expected}


def test_the_runtimes_configuration_can_be_read_when_printed() -> None:
    assert '    {\n      "name": "digits",\n' in render_yaml(model(), None, SETTINGS)


@pytest.mark.parametrize(
    "value", ["y", "no", "1e3", "22:22", "2024-01-01", "007", "~", "<<", "null", " a ", "#", "a: b"]
)
def test_a_text_stays_a_text_when_yaml_would_see_something_else(value: str) -> None:
    rendered = render_yaml(model(runtime={"env": [{"name": "A", "value": value}]}), None, SETTINGS)
    for read in (documents(rendered), list(yaml.safe_load_all(rendered))):
        (deployment,) = [document for document in read if document["kind"] == "Deployment"]
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert {"name": "A", "value": value} in container["env"]
