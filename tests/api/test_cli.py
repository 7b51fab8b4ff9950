"""The `slipway` command against a real API server: what it prints is accepted, and both give the same verdict."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import kubernetes
import pytest
from click.testing import CliRunner

from slipway.cli import cli
from slipway.validation import find_problems
from slipway_operator.api.v1alpha1 import GROUP, PLURAL, VERSION
from tests.api.manifests import EVERY_FIELD, Manifest
from tests.cluster.lifecycle import Cluster

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("crd")]

EXAMPLES: Final = sorted((Path(__file__).parents[2] / "examples").rglob("*.yaml"))
TRIALS: Final = 150
SEED: Final = 7
VALUES: Final[tuple[Any, ...]] = (
    *(None, True, 0, 1, -1, 1.5, 2**31, 2**63),
    *("", "a", "A", "1", "a\n", " a", "é", "a" * 64, "a" * 254, "1Gi", "1Gib", "1e3", "/", "/a/", "nvidia.com/gpu"),
    *([], [1], ["a"], [None], {}, {"a": 1}, {"a": "b"}, {"a": None}),
)
"""What people and programs put where something else belongs."""


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, child in children:
        yield (*path, step)
        yield from paths(child, (*path, step))


def replaced(manifest: Manifest, path: tuple[str | int, ...], value: Any) -> Manifest:
    changed = deepcopy(manifest)
    inner: Any = changed
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return changed


@pytest.mark.feature("rendered-plan")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_every_object_is_accepted_when_rendered_and_applied(
    example: Path, control_plane: Cluster, namespace: str
) -> None:
    rendered = CliRunner().invoke(cli, ["render", "-f", str(example), "-n", namespace])
    assert rendered.exit_code == 0, rendered.output
    answer = control_plane.kubectl("apply", "--dry-run=server", "-f", "-", stdin=rendered.stdout)
    assert rendered.stdout.count("\nkind: ") == len(answer.splitlines())


def test_both_give_the_same_verdict_when_any_value_stands_anywhere(control_plane: Cluster) -> None:
    changes = [(path, value) for path in paths(EVERY_FIELD) if path[0] in ("metadata", "spec") for value in VALUES]
    differing = []
    with kubernetes.config.new_client_from_config(str(control_plane.kubeconfig)) as client:
        api = kubernetes.client.CustomObjectsApi(client)
        for path, value in random.Random(SEED).sample(changes, TRIALS):
            manifest = replaced(EVERY_FIELD, path, value)
            refusal = refusal_of(api, manifest)
            problems = [str(problem) for problem in find_problems(manifest)]
            if bool(problems) != bool(refusal):
                differing.append((path, value, problems, refusal))
    assert not differing


def refusal_of(api: kubernetes.client.CustomObjectsApi, manifest: Manifest) -> str | None:
    try:
        api.create_namespaced_custom_object(
            GROUP, VERSION, "default", PLURAL, manifest, dry_run="All", field_validation="Strict"
        )
    except kubernetes.client.ApiException as error:
        if error.status not in (400, 422):
            raise
        return str(json.loads(error.body)["message"])
    return None
