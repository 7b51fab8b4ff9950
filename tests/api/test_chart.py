"""The chart on a real API server: what it renders is accepted; install, upgrade, uninstall and test with helm."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from slipway_operator import rbac
from slipway_operator.api.v1alpha1 import GROUP, PLURAL
from tests.api.manifests import manifest
from tests.cluster.errors import ClusterError
from tests.cluster.lifecycle import Cluster
from tests.fixtures.crds import wait_established
from tests.fixtures.helm import CRD, Helm, Values, render
from tests.fixtures.waiting import wait_until
from tests.monitoring import prometheus_operator
from tests.stack.chart import CHART

pytestmark = pytest.mark.api

SMOKE: Final = Path(CHART) / "files" / "smoke.py"

VALUES: Final[dict[str, Values]] = {
    "nothing": {},
    "one namespace": {"watchNamespaces": ["default"]},
    "two namespaces": {"watchNamespaces": ["default", "kube-public", "default"]},
    "images by digest": {
        "operator": {"image": {"repository": "registry.example.com:5000/op", "digest": "sha256:" + "a" * 64}},
        "runtime": {"image": {"tag": "cuda", "pullPolicy": "Always"}},
        "imagePullSecrets": [{"name": "registry"}],
    },
    "everything for the pod": {
        "operator": {
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"key": "infra", "operator": "Exists", "effect": "NoSchedule"}],
            "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "preference": {"matchExpressions": [{"key": "infra", "operator": "Exists"}]}}
            ]}},
            "topologySpreadConstraints": [{
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "slipway"}},
            }],
            "priorityClassName": "system-cluster-critical",
            "podLabels": {"team": "ml", "app.kubernetes.io/name": "not-this"},
            "podAnnotations": {"example.com/note": "yes: \"quoted\""},
            "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
            "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
            "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ssl/private-ca", "readOnly": True}],
            "podSecurityContext": {"runAsUser": None, "runAsGroup": None},
        },
        "metrics": {"service": {"annotations": {"prometheus.io/scrape": "true"}, "port": 9090}},
    },
    "an account of one's own": {"serviceAccount": {"create": False, "name": "default"}, "rbac": {"create": False}},
    "an annotated account": {"serviceAccount": {"annotations": {"example.com/role": "arn:aws:iam::1:role/a"}}},
    "nothing cluster-wide": {
        "watchNamespaces": ["default"], "crds": {"enabled": False}, "rbac": {"aggregate": False},
    },
    "a CRD that goes": {"crds": {"keep": False}},
    "monitoring and a NetworkPolicy": {
        "monitoring": {
            "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}, "interval": "1m"},
            "podMonitor": {"enabled": True, "namespaces": ["default", "kube-public"]},
            "prometheusRule": {
                "enabled": True,
                "disabled": ["SlipwaySlaInfeasible"],
                "alertLabels": {"team": "ml"},
                "runbookUrl": "https://wiki.example.com/slipway",
            },
            "dashboards": {"enabled": True, "annotations": {"grafana_folder": "Slipway"}},
        },
        "networkPolicy": {"enabled": True, "monitors": [{"namespaceSelector": {}}]},
    },
    "other names": {"nameOverride": "models", "fullnameOverride": "a-very-long-name-that-leaves-little-room-for-more"},
}  # fmt: skip


@pytest.fixture(scope="module")
def monitoring_crds(control_plane: Cluster) -> None:
    """Those of the Prometheus Operator, so that a dry run judges what the chart has for it."""
    crds = prometheus_operator.crds()
    control_plane.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(crds))
    for crd in crds:
        wait_established(control_plane, crd["metadata"]["name"])


@pytest.mark.usefixtures("monitoring_crds")
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_every_manifest_is_accepted_when_the_values_are(
    values: Values, helm: Helm, control_plane: Cluster, namespace: str
) -> None:
    documents = render(helm, namespace, values, "--api-versions", prometheus_operator.API_VERSION)
    pods = [document for document in documents if document["kind"] == "Pod"]
    rest = [document for document in documents if document["kind"] != "Pod"]
    accounts = [document for document in documents if document["kind"] == "ServiceAccount"]
    dry_run = ("apply", "--server-side", "--force-conflicts", "--validate=strict", "--dry-run=server", "-f", "-")
    control_plane.kubectl(*dry_run, stdin=yaml.safe_dump_all(rest))
    # A pod is refused without its account, and in a namespace that enforces "restricted" when it asks for more.
    label = "pod-security.kubernetes.io/enforce=restricted"
    control_plane.kubectl("label", "namespace", namespace, label)
    if accounts:
        control_plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(accounts))
    control_plane.kubectl(*dry_run, stdin=yaml.safe_dump_all([*pods, _operator_pod(documents, namespace)]))


def _operator_pod(documents: list[dict[str, Any]], namespace: str) -> dict[str, Any]:
    """The pod of the operator's Deployment, to be judged by Pod Security as a pod."""
    (deployment,) = [document for document in documents if document["kind"] == "Deployment"]
    template = deployment["spec"]["template"]
    metadata = template["metadata"] | {"name": "operator", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


@pytest.mark.usefixtures("no_crd")
def test_the_crd_and_the_models_stay_when_the_chart_is_uninstalled_and_a_new_install_takes_them_over(
    helm: Helm, control_plane: Cluster, namespace: str
) -> None:
    helm("install", "slipway", CHART, "--namespace", namespace, "--wait=false")
    wait_established(control_plane, CRD)
    control_plane.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(manifest()))
    said = helm("uninstall", "slipway", "--namespace", namespace)
    assert CRD in said, "helm says what it kept"
    assert "digits" in control_plane.kubectl("-n", namespace, "get", "mdep")
    helm("install", "slipway", CHART, "--namespace", namespace, "--wait=false")
    assert "digits" in control_plane.kubectl("-n", namespace, "get", "mdep")
    # Under another name helm asks first; docs/install.md says so.
    helm("uninstall", "slipway", "--namespace", namespace)
    with pytest.raises(ClusterError, match="invalid ownership metadata"):
        helm("install", "other", CHART, "--namespace", namespace, "--wait=false")
    helm("install", "other", CHART, "--namespace", namespace, "--wait=false", "--take-ownership")
    helm("uninstall", "other", "--namespace", namespace)


@pytest.mark.usefixtures("no_crd")
def test_one_manifest_installs_the_same_without_helm_and_applied_again_changes_nothing(
    helm: Helm, control_plane: Cluster, namespace: str
) -> None:
    values: Values = {"watchNamespaces": [namespace], "rbac": {"aggregate": False}}
    manifest_of_all = yaml.safe_dump_all(render(helm, namespace, values, "--skip-tests"))
    apply = ("apply", "--server-side", "--field-manager=installer", "-f", "-")
    said = control_plane.kubectl(*apply, stdin=manifest_of_all).splitlines()
    assert f"customresourcedefinition.apiextensions.k8s.io/{CRD} serverside-applied" in said
    assert "deployment.apps/slipway-operator serverside-applied" in said
    assert not [line for line in said if line.startswith("pod/")], "the chart's test is no part of an installation"
    wait_established(control_plane, CRD)
    before = _versions(control_plane, namespace)
    control_plane.kubectl(*apply, stdin=manifest_of_all)
    assert _versions(control_plane, namespace) == before


def _versions(cluster: Cluster, namespace: str) -> dict[str, str]:
    """Of what no controller writes to when nothing changes; of the Deployment its generation."""
    found = cluster.kubectl("-n", namespace, "get", "deployment,service,role,rolebinding,serviceaccount", "-o", "json")
    return {
        f"{item['kind']}/{item['metadata']['name']}": str(
            item["metadata"].get("generation") or item["metadata"]["resourceVersion"]
        )
        for item in json.loads(found)["items"]
    }


@pytest.mark.usefixtures("no_crd")
def test_the_crd_is_upgraded_when_the_chart_is(
    helm: Helm, control_plane: Cluster, namespace: str, tmp_path: Path
) -> None:
    """An older chart without the field `stallTimeoutSeconds`; a model applied then is still there afterwards."""
    older = tmp_path / "older"
    subprocess.run(["cp", "-r", CHART, str(older)], check=True)
    crd = older / "templates" / "crd.yaml"
    crd.write_text(crd.read_text().replace(" stallTimeoutSeconds:\n", " patienceSeconds:\n"))
    helm("install", "slipway", str(older), "--namespace", namespace, "--wait=false")
    wait_established(control_plane, CRD)
    control_plane.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(manifest()))
    assert "patienceSeconds" in _artifact_fields(control_plane)
    helm("upgrade", "slipway", CHART, "--namespace", namespace, "--wait=false")
    assert "stallTimeoutSeconds" in _artifact_fields(control_plane)
    assert "patienceSeconds" not in _artifact_fields(control_plane)
    assert "digits" in control_plane.kubectl("-n", namespace, "get", "mdep")
    helm("rollback", "slipway", "1", "--namespace", namespace, "--wait=false")
    assert "patienceSeconds" in _artifact_fields(control_plane), "a rollback takes the CRD back as well"
    assert "digits" in control_plane.kubectl("-n", namespace, "get", "mdep")


def _artifact_fields(cluster: Cluster) -> dict[str, Any]:
    crd = json.loads(cluster.kubectl("get", "crd", CRD, "-o", "json"))
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    fields: dict[str, Any] = schema["properties"]["spec"]["properties"]["artifact"]["properties"]
    return fields


@pytest.mark.usefixtures("no_crd")
def test_the_operator_may_do_what_the_table_says_and_no_more(
    helm: Helm, control_plane: Cluster, namespace: str
) -> None:
    helm("install", "slipway", CHART, "--namespace", namespace, "--wait=false")
    wait_established(control_plane, CRD)
    account = f"system:serviceaccount:{namespace}:slipway-operator"
    text = control_plane.kubectl("auth", "can-i", "--list", "--no-headers", "-n", "default", "--as", account)
    may = {line.split()[0]: line[line.rindex("[") + 1 : line.rindex("]")].split() for line in text.splitlines() if line}
    for permission in rbac.PERMISSIONS + rbac.CLUSTER_PERMISSIONS:
        name = f"{permission.resource}.{permission.group}".rstrip(".")
        name = name if "/" not in permission.resource else _with_subresource(permission)
        assert set(may.pop(name)) == set(permission.verbs), name
    assert not [resource for resource in may if "secrets" in resource or "slipway" in resource]
    helm("uninstall", "slipway", "--namespace", namespace)


def _with_subresource(permission: rbac.Permission) -> str:
    resource, _, subresource = permission.resource.partition("/")
    return f"{resource}.{permission.group}/{subresource}"


READS: Final = {
    f"get {PLURAL}", f"list {PLURAL}", f"watch {PLURAL}", f"get {PLURAL}/scale", f"get {PLURAL}/status",
}  # fmt: skip
WRITES: Final = {
    f"create {PLURAL}", f"update {PLURAL}", f"patch {PLURAL}", f"delete {PLURAL}", f"deletecollection {PLURAL}",
    f"update {PLURAL}/scale", f"patch {PLURAL}/scale",
}  # fmt: skip
NEVER: Final = {f"update {PLURAL}/status", f"patch {PLURAL}/status", f"update {PLURAL}/finalizers"}
ROLES: Final = {"view": READS, "edit": READS | WRITES, "admin": READS | WRITES}


@pytest.mark.usefixtures("no_crd")
def test_users_may_handle_models_when_they_have_the_clusters_own_role(
    helm: Helm, control_plane: Cluster, namespace: str
) -> None:
    helm("install", "slipway", CHART, "--namespace", namespace, "--wait=false")
    for role in ROLES:
        user = f"--user={role}-user"
        control_plane.kubectl("-n", namespace, "create", "rolebinding", role, f"--clusterrole={role}", user)
    # The controller-manager puts the aggregated roles together some moments after they were made.

    def allowed() -> dict[str, set[str]]:
        return {role: _allowed(control_plane, namespace, f"{role}-user") for role in ROLES}

    wait_until(lambda: allowed() == ROLES, lambda: f"the roles allow {allowed()}")
    assert _allowed(control_plane, "default", "edit-user") == set(), "the role counts in its namespace only"
    helm("uninstall", "slipway", "--namespace", namespace)


def _allowed(cluster: Cluster, namespace: str, user: str) -> set[str]:
    """What the API server lets this user do with ModelDeployments, as `verb resource`."""
    asked = sorted(READS | WRITES | NEVER)
    reviews = [
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": user,
                "resourceAttributes": {
                    "namespace": namespace,
                    "verb": item.split()[0],
                    "group": GROUP,
                    "resource": PLURAL,
                    "subresource": item.partition("/")[2],
                },
            },
        }
        for item in asked
    ]
    answers = cluster.kubectl("create", "-f", "-", "-o", "json", stdin=yaml.safe_dump_all(reviews))
    allowed = [answer["status"]["allowed"] for answer in _documents(answers)]
    return {item for item, allows in zip(asked, allowed, strict=True) if allows}


def _documents(text: str) -> Iterator[dict[str, Any]]:
    """JSON documents one after the other, as kubectl prints what has no name."""
    decoder = json.JSONDecoder()
    while text := text.lstrip():
        document, end = decoder.raw_decode(text)
        yield from document["items"] if document["kind"] == "List" else [document]
        text = text[end:]


class Operator(BaseHTTPRequestHandler):
    """Answers as an operator's probes do."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path in ("/readyz", "/metrics") else 404)
        self.end_headers()
        self.wfile.write(b"ok\n")

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def operator_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Operator) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("no_crd")
def test_the_helm_test_script_judges_operator_crd_and_roles(
    helm: Helm, control_plane: Cluster, namespace: str, tmp_path: Path, operator_url: str
) -> None:
    helm("install", "slipway", CHART, "--namespace", namespace, "--wait=false")
    wait_established(control_plane, CRD)
    config = yaml.safe_load(control_plane.kubectl("config", "view", "--raw", "--flatten"))["clusters"][0]["cluster"]
    root = control_plane.kubectl(
        "-n", namespace, "get", "configmap", "kube-root-ca.crt", "-o", "jsonpath={.data.ca\\.crt}"
    )
    assert ssl.PEM_cert_to_DER_cert(root)
    (tmp_path / "ca.crt").write_text(root)

    def smoke(account: str, *namespaces: str) -> subprocess.CompletedProcess[str]:
        token = control_plane.kubectl("-n", namespace, "create", "token", account)
        (tmp_path / "token").write_text(token)
        command = [sys.executable, str(SMOKE), operator_url, config["server"], str(tmp_path), *namespaces]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    good = smoke("slipway-operator")
    assert good.returncode == 0, good.stderr
    assert good.stdout.count("ok: ") == 4
    assert smoke("slipway-operator", "default").stdout.endswith("in namespace default\n")
    refused = smoke("default")
    assert refused.returncode == 1
    assert "answered 403" in refused.stderr
    control_plane.kubectl("delete", "crd", CRD, "--wait")
    missing = smoke("slipway-operator")
    assert missing.returncode == 1
    assert "slipway.dev/v1alpha1 answered 404" in missing.stderr
    helm("uninstall", "slipway", "--namespace", namespace)
