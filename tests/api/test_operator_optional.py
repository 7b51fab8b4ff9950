"""A feature that is switched off takes its child along, switched on it is back; what others own is theirs."""

from __future__ import annotations

import copy
from typing import Any, Final

import pytest

from slipway_operator.names import PART_OF_LABEL
from tests.fixtures.objects import Manifest, Objects
from tests.fixtures.operator import REPAIR_SECONDS, Models, OperatorProcess, condition

pytestmark = pytest.mark.api

CLIENTS: Final = {"clients": [{"namespaceSelector": {}}]}

SWITCHES: Final[dict[str, tuple[Manifest, Manifest]]] = {
    "poddisruptionbudget": ({"replicas": 2}, {"replicas": 1}),
    "networkpolicy": ({"networkPolicy": CLIENTS}, {"networkPolicy": None}),
    "ingress": (
        {"exposure": {"ingress": {"host": "digits.example.com"}}},
        {"exposure": {"ingress": None}},
    ),
}
"""By kind: the spec with it, and the spec without it."""

ALL_ON: Final[dict[str, Any]] = {name: value for on, _ in SWITCHES.values() for name, value in on.items()}

NAMES: Final = {
    "serviceaccount": "digits",
    "configmap": "digits-config",
    "service": "digits",
    "poddisruptionbudget": "digits",
    "networkpolicy": "digits",
    "ingress": "digits",
    "deployment": "digits",
}

NAMES_OF_KINDS: Final = {
    "serviceaccount": ("v1", "ServiceAccount"),
    "service": ("v1", "Service"),
    "configmap": ("v1", "ConfigMap"),
    "poddisruptionbudget": ("policy/v1", "PodDisruptionBudget"),
    "networkpolicy": ("networking.k8s.io/v1", "NetworkPolicy"),
    "ingress": ("networking.k8s.io/v1", "Ingress"),
    "deployment": ("apps/v1", "Deployment"),
}

STRANGERS: Final[dict[str, Manifest]] = {
    "serviceaccount": {},
    "configmap": {"data": {"theirs": "1"}},
    "service": {"spec": {"ports": [{"port": 1}]}},
    "poddisruptionbudget": {"spec": {"maxUnavailable": 1}},
    "networkpolicy": {"spec": {"podSelector": {}}},
    "ingress": {"spec": {"defaultBackend": {"service": {"name": "theirs", "port": {"number": 1}}}}},
    "deployment": {
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "theirs"}},
            "template": {
                "metadata": {"labels": {"app": "theirs"}},
                "spec": {"containers": [{"name": "theirs", "image": "registry.example.com/theirs:1"}]},
            },
        }
    },
}
"""Somebody else's object of each kind, without its name."""


def uid(objects: Objects, kind: str, *not_this: str) -> str:
    found = objects.wait_for(
        kind, NAMES[kind], lambda live: live["metadata"]["uid"] not in not_this, what=f"made, not {not_this}"
    )
    text: str = found["metadata"]["uid"]
    return text


def test_each_optional_child_goes_when_it_is_switched_off_and_comes_back_when_it_is_switched_on(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    models.create(**copy.deepcopy(ALL_ON))
    before = {kind: uid(objects, kind) for kind in NAMES}
    for kind, (on, off) in SWITCHES.items():
        models.change(**off)
        objects.wait_gone(kind, "digits")
        models.change(**on)
        after = uid(objects, kind, before[kind])
        assert after != before[kind]
        before[kind] = after
    operator.settle()
    assert {kind: uid(objects, kind) for kind in NAMES} == before


def test_what_is_switched_off_while_the_operator_is_away_goes_when_it_is_back(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    models.create(**copy.deepcopy(ALL_ON))
    for kind in SWITCHES:
        uid(objects, kind)
    operator.stop()
    for _, off in SWITCHES.values():
        models.change(**off)
    operator.start()
    for kind in SWITCHES:
        objects.wait_gone(kind, "digits")


def test_what_others_add_to_any_child_outlives_a_repair_of_ours(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    models.create(**copy.deepcopy(ALL_ON))
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "digits", "namespace": objects.namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "slipway.dev/v1alpha1", "kind": "ModelDeployment", "name": "digits"},
            "minReplicas": 2,
            "maxReplicas": 4,
        },
    }
    theirs = objects.create(scaler)
    for kind, name in NAMES.items():
        uid(objects, kind)
        labels = {"example.com/theirs": "1", PART_OF_LABEL: "theirs"}
        objects.patch(kind, name, {"metadata": {"annotations": {"example.com/theirs": "1"}, "labels": labels}})
    for kind, name in NAMES.items():
        repaired = objects.wait_for(
            kind,
            name,
            lambda live: live["metadata"]["labels"][PART_OF_LABEL] == "slipway",
            what="put right",
            timeout_seconds=REPAIR_SECONDS,
        )
        assert repaired["metadata"]["annotations"]["example.com/theirs"] == "1"
        assert repaired["metadata"]["labels"]["example.com/theirs"] == "1"
    after = objects.get("horizontalpodautoscaler", "digits")
    assert after is not None
    assert after["spec"] == theirs["spec"]


@pytest.mark.parametrize("kind", sorted(STRANGERS))
def test_an_object_that_is_not_ours_is_neither_adopted_nor_changed_nor_deleted(
    kind: str, models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    api_version, written = NAMES_OF_KINDS[kind]
    name = NAMES[kind]
    metadata = {"name": name, "namespace": objects.namespace}
    theirs = objects.create({"apiVersion": api_version, "kind": written, "metadata": metadata, **STRANGERS[kind]})
    models.create(**copy.deepcopy(ALL_ON))
    status = models.wait_condition("Accepted", "False", "NameConflict")
    assert f"{written} {name}" in condition(status, "Accepted")["message"]
    assert condition(status, "Ready")["reason"] == "NameConflict"
    if kind in SWITCHES:
        models.change(**SWITCHES[kind][1])
        models.wait("another verdict", lambda found: condition(found, "Accepted")["reason"] != "NameConflict")
    operator.settle()
    after = objects.get(kind, name)
    assert after is not None
    assert after["metadata"]["uid"] == theirs["metadata"]["uid"]
    assert "ownerReferences" not in after["metadata"]
    assert {part: after.get(part) for part in ("spec", "data")} == {part: theirs.get(part) for part in ("spec", "data")}
