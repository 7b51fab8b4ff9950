"""The chart as helm renders it, without a cluster."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

import slipway_operator
from slipway_operator import rbac, settings
from slipway_operator.api.v1alpha1 import GROUP, PLURAL
from slipway_operator.tools.crdgen import build_crd
from tests.fixtures.helm import Document, Helm, environment, of_kind, rendered

pytestmark = pytest.mark.unit

REPOSITORY: Final = Path(__file__).parents[2]
CHART: Final = REPOSITORY / "charts" / "slipway"
GOLDEN: Final = Path(__file__).parent / "golden" / "chart.yaml"


@pytest.fixture
def helm(offline_helm: Helm) -> Helm:
    return offline_helm


def test_lint_finds_nothing_even_when_it_is_strict(helm: Helm) -> None:
    said = helm("lint", "--strict", str(CHART))
    assert not re.search(r"WARNING|ERROR", said), said


def test_the_default_rendering_is_the_golden_one(helm: Helm) -> None:
    """Reviewed as documentation. The CRD and the test's script have files of their own."""
    documents = [document for document in rendered(helm) if document["kind"] != "CustomResourceDefinition"]
    for pod in of_kind(documents, "Pod"):
        pod["spec"]["containers"][0]["args"][0] = "files/smoke.py"
    text = yaml.safe_dump_all(documents, sort_keys=False, width=120)
    assert text == GOLDEN.read_text(), f"if the change is wanted, write this to {GOLDEN}:\n{text}"


def test_the_version_of_the_chart_is_the_operators() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == slipway_operator.__version__


def test_the_crd_is_the_generated_one_and_stays_on_uninstall(helm: Helm) -> None:
    (crd,) = of_kind(rendered(helm), "CustomResourceDefinition")
    assert crd["spec"] == build_crd()["spec"]
    assert crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    committed = yaml.safe_load((REPOSITORY / "crds" / f"{GROUP}_{PLURAL}.yaml").read_text())
    assert committed == build_crd()


def test_the_crd_goes_or_is_left_out_when_asked(helm: Helm) -> None:
    (crd,) = of_kind(rendered(helm, crds={"keep": False}), "CustomResourceDefinition")
    assert "annotations" not in crd["metadata"]
    assert of_kind(rendered(helm, crds={"enabled": False}), "CustomResourceDefinition") == []


def test_the_operators_role_is_the_table(helm: Helm) -> None:
    documents = rendered(helm)
    (role,) = [role for role in of_kind(documents, "ClusterRole") if role["metadata"]["name"].endswith("-operator")]
    assert role["rules"] == rbac.rules(rbac.PERMISSIONS + rbac.CLUSTER_PERMISSIONS)
    assert [role["metadata"]["name"] for role in of_kind(documents, "Role")] == ["slipway-operator-lease"]


def test_the_operator_gets_a_role_in_each_namespace_and_none_for_the_cluster_when_namespaces_are_named(
    helm: Helm,
) -> None:
    documents = rendered(helm, watchNamespaces=["team-a", "team-b"], rbac={"aggregate": False})
    roles = [role for role in of_kind(documents, "Role") if not role["metadata"]["name"].endswith("-lease")]
    assert [role["metadata"]["namespace"] for role in roles] == ["team-a", "team-b"]
    assert all(role["rules"] == rbac.rules(rbac.PERMISSIONS) for role in roles)
    bindings = of_kind(documents, "RoleBinding")
    assert [binding["metadata"]["namespace"] for binding in bindings] == ["slipway-system", "team-a", "team-b"]
    subject = {"kind": "ServiceAccount", "name": "slipway-operator", "namespace": "slipway-system"}
    assert all(binding["subjects"] == [subject] for binding in bindings)
    assert of_kind(documents, "ClusterRole") == of_kind(documents, "ClusterRoleBinding") == []
    assert environment(documents)["SLIPWAY_NAMESPACES"] == "team-a,team-b"


def test_no_role_holds_a_wildcard_or_secrets(helm: Helm) -> None:
    documents = rendered(helm)
    rules = [rule for role in of_kind(documents, "ClusterRole") for rule in role["rules"]]
    assert rules
    for rule in rules:
        assert "*" not in rule["verbs"] + rule["apiGroups"] + rule["resources"]
        assert "secrets" not in rule["resources"]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {
            "watchNamespaces": ["a", "b"],
            "allowedSchemes": ["file", "s3"],
            "operator": {"logLevel": "DEBUG", "logFormat": "text", "writesPerSecond": 1000, "sweepSeconds": 86400},
            "runtime": {"image": {"repository": "r.example.com/rt", "tag": "7", "pullPolicy": "Never"}},
            "ingress": {"defaultClass": "inner", "classes": {"inner": "nginx", "edge.example.com": "none"}},
        },
        {"operator": {"writesPerSecond": 1, "sweepSeconds": 10}},
    ],
)
def test_the_operator_understands_its_environment(helm: Helm, values: Document) -> None:
    found = settings.from_environment(environment(rendered(helm, **values)))
    assert set(found.namespaces) == set(values.get("watchNamespaces", ()))
    assert found.allowed_schemes == set(values.get("allowedSchemes", ("s3", "https", "http")))
    assert found.http_port == 8080
    operator = values.get("operator", {})
    assert found.writes_per_second == operator.get("writesPerSecond", 50)
    assert found.sweep_seconds == operator.get("sweepSeconds", 300)
    assert found.log_format == operator.get("logFormat", "json")
    ingress = values.get("ingress", {})
    assert dict(found.render.ingress_classes) == ingress.get("classes", {})
    assert found.render.default_ingress_class == ingress.get("defaultClass", "")


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ({}, f"ghcr.io/slipway-dev/operator:{slipway_operator.__version__}"),
        ({"tag": "1.2"}, "ghcr.io/slipway-dev/operator:1.2"),
        ({"tag": "1.2", "digest": "sha256:" + "a" * 64}, "ghcr.io/slipway-dev/operator@sha256:" + "a" * 64),
    ],
)
def test_an_image_is_named_by_digest_before_tag_before_app_version(helm: Helm, image: Document, reference: str) -> None:
    documents = rendered(helm, operator={"image": image})
    (deployment,) = of_kind(documents, "Deployment")
    (pod,) = of_kind(documents, "Pod")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == reference
    assert pod["spec"]["containers"][0]["image"] == reference


@pytest.mark.parametrize(
    ("release", "values", "name"),
    [
        ("slipway", {}, "slipway-operator"),
        ("slipway-operator", {}, "slipway-operator"),
        ("team-a", {}, "team-a-slipway-operator"),
        ("team-a", {"nameOverride": "models"}, "team-a-models-operator"),
        ("team-a", {"fullnameOverride": "ops"}, "ops-operator"),
        ("r" * 53, {}, "r" * 53 + "-operator"),
    ],
)
def test_names_follow_the_release(helm: Helm, release: str, values: Document, name: str) -> None:
    documents = rendered(helm, release=release, **values)
    (deployment,) = of_kind(documents, "Deployment")
    assert deployment["metadata"]["name"] == name
    (service,) = of_kind(documents, "Service")
    assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert all(len(document["metadata"]["name"]) <= 253 for document in documents)
    assert len(service["metadata"]["name"]) <= 63


def test_labels_of_the_selector_win_over_labels_of_the_user(helm: Helm) -> None:
    documents = rendered(helm, operator={"podLabels": {"team": "ml", "app.kubernetes.io/name": "mine"}})
    (deployment,) = of_kind(documents, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert labels["team"] == "ml"
    assert labels["app.kubernetes.io/name"] == "slipway"


@pytest.mark.feature("values-schema")
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"operater": {}}, ["operater", "not allowed"]),
        ({"operator": {"imge": {}}}, ["/operator", "imge", "not allowed"]),
        ({"operator": {"image": {"digest": "abc"}}}, ["/operator/image/digest", "sha256"]),
        ({"operator": {"logLevel": "debug"}}, ["/operator/logLevel", "'DEBUG'"]),
        ({"operator": {"replica": 2}}, ["/operator", "replica", "not allowed"]),
        ({"watchNamespaces": "default"}, ["/watchNamespaces", "got string, want array"]),
        ({"allowedSchemes": ["ftp"]}, ["/allowedSchemes/0", "'s3'"]),
        ({"ingress": {"classes": {"inner": "apache"}}}, ["/ingress/classes/inner", "'nginx'"]),
        ({"crds": {"keep": "no"}}, ["/crds/keep", "got string, want boolean"]),
        ({"metrics": {"service": {"port": 0}}}, ["/metrics/service/port", "minimum"]),
        ({"serviceAccount": {"create": False}}, ["serviceAccount.name", "Set it"]),
    ],
)
def test_values_are_refused_with_their_path_when_they_are_mistyped(
    helm: Helm, values: Document, words: list[str]
) -> None:
    with pytest.raises(ValueError, match=re.escape(words[0])) as caught:
        rendered(helm, **values)
    for word in words:
        assert word in str(caught.value)


def test_a_parent_chart_may_pass_global_values(helm: Helm) -> None:
    values: Document = {"global": {"imageRegistry": "registry.example.com"}}
    assert rendered(helm, **values)


def test_notes_tell_how_to_go_on_and_what_uninstall_leaves(helm_program: str) -> None:
    command = [helm_program, "install", "slipway", str(CHART), "-n", "models", "--dry-run=client", "--hide-secret"]
    notes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.rpartition("NOTES:")[2]
    for words in (
        "serves the ModelDeployments of every namespace",
        "kubectl -n models rollout status deployment/slipway-operator",
        "helm test slipway -n models",
        "keeps the CRD: served models go on serving",
        "kubectl delete crd modeldeployments.slipway.dev",
    ):
        assert words in notes
    manifest = notes[notes.index("<<'EOF'\n") + 8 : notes.index("\nEOF\n")]
    assert yaml.safe_load(manifest)["kind"] == "ModelDeployment"
