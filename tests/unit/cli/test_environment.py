"""A local run sees the manifest's variables as a pod would, and is told what it cannot see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slipway.environment import cache_directory, describe_differences, expand, needed_samples, run_environment
from slipway_operator.api.v1alpha1 import ModelDeploymentSpec

pytestmark = pytest.mark.unit

HOME = {"HOME": "/home/ada"}


def spec_of(**blocks: Any) -> ModelDeploymentSpec:
    return ModelDeploymentSpec.model_validate({"artifact": {"uri": "s3://models/digits.pt"}} | blocks)


def with_env(*variables: dict[str, Any]) -> ModelDeploymentSpec:
    return spec_of(runtime={"env": list(variables)})


def test_artifacts_are_kept_in_the_users_cache_folder_when_xdg_names_one() -> None:
    assert cache_directory(HOME) == Path("/home/ada/.cache/slipway/artifacts")
    assert cache_directory(HOME | {"XDG_CACHE_HOME": "/scratch"}) == Path("/scratch/slipway/artifacts")
    assert cache_directory(HOME | {"XDG_CACHE_HOME": "relative"}) == Path("/home/ada/.cache/slipway/artifacts")


def test_the_users_own_cache_folder_stays_when_it_is_set() -> None:
    assert run_environment(spec_of(), HOME | {"SLIPWAY_CACHE_DIR": "/mine"})["SLIPWAY_CACHE_DIR"] == "/mine"


def test_plain_values_win_over_the_users_environment_when_the_manifest_sets_them() -> None:
    environment = run_environment(with_env({"name": "LEVEL", "value": "debug"}, {"name": "EMPTY"}), {"LEVEL": "info"})
    assert environment["LEVEL"] == "debug"
    assert environment["EMPTY"] == ""


def test_the_users_value_stays_when_a_variable_comes_from_a_secret() -> None:
    token = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}
    url = {"name": "URL", "value": "https://$(TOKEN)@hub"}
    assert run_environment(with_env(token, url), {"TOKEN": "t"})["URL"] == "https://t@hub"
    assert "TOKEN" not in run_environment(with_env(token), {})


@pytest.mark.parametrize(
    ("value", "expanded"),
    [
        ("$(A)/b", "1/b"),
        ("$(B)", "$(B)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A ${A} $", "$A ${A} $"),
        ("$(A)$(A)", "11"),
    ],
)
def test_references_are_replaced_as_in_a_pod_when_the_variable_was_declared_before(value: str, expanded: str) -> None:
    assert expand(value, {"A": "1"}) == expanded


def test_whatever_a_cluster_would_add_is_named_when_the_manifest_asks_for_it() -> None:
    spec = spec_of(
        artifact={"uri": "s3://models/digits.pt", "credentials": {"secretRef": {"name": "store"}}},
        runtime={
            "image": "registry.example.com/mine:1",
            "env": [
                {"name": "A", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}},
                {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "level"}}},
                {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "D", "value": "plain"},
            ],
        },
        traffic={"auth": {"apiKeysSecretRef": {"name": "keys"}}, "tls": {"secretName": "pair"}},
        resources={"gpu": {"count": 2}},
    )
    differences = list(describe_differences(spec, spec.artifact.uri, {}))
    assert [difference.split(" ")[:4] for difference in differences] == [
        ["the", "Secret", "store", "is"],
        ["A", "comes", "from", "the"],
        ["B", "comes", "from", "the"],
        ["C", "comes", "from", "the"],
        ["the", "image", "registry.example.com/mine:1", "is"],
        ["the", "Secret", "keys", "is"],
        ["the", "Secret", "pair", "is"],
        ["a", "pod", "gets", "2"],
    ]
    assert "AWS_ACCESS_KEY_ID" in differences[0]
    assert "Secret hub, key token" in differences[1]


def test_nothing_is_named_when_a_local_file_and_the_users_environment_have_it_all() -> None:
    spec = spec_of(
        artifact={"uri": "s3://models/digits.pt", "credentials": {"secretRef": {"name": "store"}}},
        runtime={"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}]},
        resources={"gpu": {"count": 0}},
    )
    assert not list(describe_differences(spec, "file:///tmp/model.pt", {"A": "mine"}))


def test_samples_of_a_config_map_are_asked_for_with_the_command_that_gets_them() -> None:
    refusal = needed_samples(spec_of(runtime={"warmup": {"configMapRef": {"name": "digits-warmup"}}}))
    assert refusal is not None
    for words in (
        "spec.runtime.warmup.configMapRef",
        "--warmup-samples FILE",
        r"kubectl get configmap digits-warmup -o jsonpath='{.data.samples\.json}'",
    ):
        assert words in refusal
    inline = {"samples": [{"inputs": [{"name": "image", "shape": [-1, 64]}]}]}
    assert needed_samples(spec_of(runtime={"warmup": inline})) is None
    assert needed_samples(spec_of()) is None


def test_what_only_a_cluster_knows_is_named() -> None:
    sources = [{"secretRef": {"name": "tokens"}}, {"configMapRef": {"name": "settings"}}]
    spec = spec_of(runtime={"envFrom": sources, "args": ["--log-format", "json"]}, rollout={"rollbackTo": 3})
    assert list(describe_differences(spec, "file:///tmp/model.pt", {})) == [
        "the Secret tokens is not read here; its variables come from your environment.",
        "the ConfigMap settings is not read here; its variables come from your environment.",
        "the arguments --log-format json are not passed on.",
        "revision 3 is known to the cluster only; this spec is served.",
    ]
