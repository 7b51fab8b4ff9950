"""What a reader pastes from a page, a real API server takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml

from tests.cluster.lifecycle import Cluster
from tests.pages import Snippet, snippets

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("crd")]


def documents_of(snippet: Snippet) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(snippet.text) if document and "kind" in document]


OBJECTS: Final = [snippet for snippet in snippets("yaml") if documents_of(snippet)]


@pytest.fixture(scope="module")
def foreign_namespaces(control_plane: Cluster) -> Iterator[None]:
    """Those that pages name; the API server refuses an object in one that is not there, even in a dry run."""
    found = json.loads(control_plane.kubectl("get", "namespaces", "-o", "json"))["items"]
    there = {item["metadata"]["name"] for item in found}
    named = {document["metadata"].get("namespace", "default") for page in OBJECTS for document in documents_of(page)}
    made = sorted(named - there)
    for name in made:
        control_plane.kubectl("create", "namespace", name)
    yield
    for name in made:
        control_plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.usefixtures("foreign_namespaces")
@pytest.mark.parametrize("snippet", OBJECTS, ids=str)
def test_objects_on_a_page_are_taken_by_a_server_that_refuses_unknown_fields(
    snippet: Snippet, control_plane: Cluster
) -> None:
    command = ("apply", "--dry-run=server", "--validate=strict", "-f", "-")
    answer = control_plane.kubectl(*command, stdin=snippet.text)
    assert len(answer.splitlines()) == len(documents_of(snippet)), answer
