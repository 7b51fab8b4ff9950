"""`kubectl explain` tells about every field, however deep: what it is, what it may be, what it is when left out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from slipway_operator.api.v1alpha1 import API_VERSION, KIND
from slipway_operator.tools.crdgen import openapi_schema
from slipway_operator.tools.explanation import LIMIT_WORDS
from tests.cluster.lifecycle import Cluster

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("discovered")]

Schema = dict[str, Any]


@pytest.fixture
def discovered(crd: str, control_plane: Cluster) -> None:
    """kubectl looks up kinds that are new to it when it gets objects, and not when it explains."""
    control_plane.kubectl("get", crd)


def fields(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """Path, from the root, and schema of each field, those of lists and maps included."""
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field
        for inner in (field, field.get("items", {}), field.get("additionalProperties", {})):
            yield from fields(inner, f"{path}.{name}")


def own_fields() -> list[tuple[str, Schema]]:
    blocks = openapi_schema()["properties"]
    return [pair for block in ("spec", "status") for pair in fields(blocks[block], block)]


def words(text: str) -> str:
    return " ".join(text.split())


def test_every_field_is_explained_with_its_default_and_its_limits(control_plane: Cluster) -> None:
    """As the API server publishes it, which is what kubectl reads."""
    document = json.loads(control_plane.kubectl("get", "--raw", f"/openapi/v3/apis/{API_VERSION}"))
    (published,) = [
        schema
        for schema in document["components"]["schemas"].values()
        if schema.get("x-kubernetes-group-version-kind", [{}])[0].get("kind") == KIND
    ]
    found = dict(pair for block in ("spec", "status") for pair in fields(published["properties"][block], block))
    wanted = own_fields()
    assert found.keys() == {path for path, _ in wanted}
    assert len(wanted) > 150
    for path, field in wanted:
        assert re.fullmatch(r"\S+ \S+.*[.]", words(field["description"])), f"{path}: no sentence"
        text = found[path]["description"]
        assert text.startswith(field["description"]), path
        assert found[path].get("enum") == field.get("enum"), path
        for keyword in LIMIT_WORDS.keys() & field.keys():
            assert str(field[keyword]) in text or field[keyword] == 1, f"{path}: {keyword} is not told"
        assert ("Default: " in text) == ("default" in field), path


def test_kubectl_shows_description_choices_default_and_limits(control_plane: Cluster) -> None:
    mode = words(control_plane.kubectl("explain", "mdep.spec.batching.mode"))
    assert "ENUM: Auto Static Disabled " in mode
    assert "a lone request never waits." in mode
    assert mode.endswith("Default: Auto.")
    replicas = words(control_plane.kubectl("explain", "mdep.spec.replicas"))
    assert replicas.endswith("At least 0, at most 1000. Default: 1.")
    name = words(control_plane.kubectl("explain", "mdep.spec.runtime.env.name"))
    assert "Not empty. At most 253 characters." in name
    assert "name <string> -required-" in words(control_plane.kubectl("explain", "mdep.spec.runtime.env"))


def test_the_tree_of_all_fields_is_shown_at_once(control_plane: Cluster) -> None:
    tree = control_plane.kubectl("explain", "modeldeployment", "--recursive")
    shown = {line.split()[0] for line in tree.splitlines() if line.startswith("  ") and line.strip()}
    assert {path.rsplit(".", 1)[1] for path, _ in own_fields()} <= shown
