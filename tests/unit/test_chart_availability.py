"""Several replicas of the operator, as helm renders them, without a cluster."""

from __future__ import annotations

import pytest

from slipway_operator import rbac, settings
from slipway_operator.resources import Key
from tests.fixtures.helm import Document, Helm, environment, of_kind, rendered

pytestmark = pytest.mark.unit


@pytest.fixture
def helm(offline_helm: Helm) -> Helm:
    return offline_helm


def test_two_operators_run_apart_and_a_drain_takes_one_at_a_time(helm: Helm) -> None:
    documents = rendered(helm)
    (deployment,) = of_kind(documents, "Deployment")
    spec = deployment["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    (spread,) = spec["template"]["spec"]["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
    (budget,) = of_kind(documents, "PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1
    labels = spec["template"]["metadata"]["labels"].items()
    for selector in (spread["labelSelector"], budget["spec"]["selector"], spec["selector"]):
        assert selector["matchLabels"].items() <= labels


def test_one_operator_needs_no_budget(helm: Helm) -> None:
    documents = rendered(helm, operator={"replicas": 1})
    assert of_kind(documents, "PodDisruptionBudget") == []
    (deployment,) = of_kind(documents, "Deployment")
    assert deployment["spec"]["replicas"] == 1


def test_a_spread_of_ones_own_takes_the_place_of_the_default(helm: Helm) -> None:
    own = {"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    (deployment,) = of_kind(rendered(helm, operator={"topologySpreadConstraints": [own]}), "Deployment")
    assert deployment["spec"]["template"]["spec"]["topologySpreadConstraints"] == [own]


@pytest.mark.parametrize("values", [{}, {"watchNamespaces": ["team-a"]}], ids=["cluster-wide", "namespaced"])
def test_the_lease_is_the_only_one_that_the_operator_may_take_and_is_in_its_own_namespace(
    helm: Helm, values: Document
) -> None:
    documents = rendered(helm, **values)
    found = settings.from_environment(environment(documents)).lease
    (role,) = [role for role in of_kind(documents, "Role") if role["metadata"]["name"].endswith("-lease")]
    assert found.key == Key(role["metadata"]["namespace"], "slipway-operator") == Key("slipway-system", found.key.name)
    assert role["rules"] == rbac.rules(rbac.lease_permissions(found.key.name))
    (binding,) = [item for item in of_kind(documents, "RoleBinding") if item["metadata"] == role["metadata"]]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]


def test_each_pod_is_a_holder_of_its_own_name(helm: Helm) -> None:
    (deployment,) = of_kind(rendered(helm), "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    given = {variable["name"]: variable for variable in container["env"]}
    names = list(given)
    assert given["SLIPWAY_LEASE_IDENTITY"]["value"] == "$(POD_NAME)_$(POD_UID)"
    for name, path in (("POD_NAME", "metadata.name"), ("POD_UID", "metadata.uid")):
        assert given[name]["valueFrom"]["fieldRef"]["fieldPath"] == path
        assert names.index(name) < names.index("SLIPWAY_LEASE_IDENTITY"), "Kubernetes expands only what came before"


def test_the_operator_understands_the_times_of_the_lease(helm: Helm) -> None:
    values = {"durationSeconds": 60, "renewDeadlineSeconds": 40, "retrySeconds": 5}
    found = settings.from_environment(environment(rendered(helm, operator={"lease": values}))).lease.times
    assert (found.duration_seconds, found.renew_deadline_seconds, found.retry_seconds) == (60, 40, 5)


@pytest.mark.parametrize(
    ("lease", "words"),
    [
        ({"renewDeadlineSeconds": 13}, "four fifths of durationSeconds"),
        ({"retrySeconds": 4}, "a third of renewDeadlineSeconds"),
        ({"durationSeconds": 2}, "minimum"),
    ],
)
def test_times_that_leave_no_room_are_refused(helm: Helm, lease: Document, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        rendered(helm, operator={"lease": lease})
