"""A server of another kind: what it is told, where it finds the artifact, and what it is not given."""

from __future__ import annotations

from typing import Any, Final

import pytest

from slipway_operator.api.v1alpha1 import ModelDeploymentSpec
from slipway_operator.render.children import render_children
from slipway_operator.render.manifest import Manifest
from slipway_runtime.contract import ARTIFACT_DIRECTORY, RuntimeConfig
from tests.unit.op.test_render import OWNER, SETTINGS

pytestmark = pytest.mark.unit

IMAGE: Final = "registry.example.com/team/app:1"


def rendered(artifact: dict[str, Any] | None = None, container: Any = None, **spec: Any) -> dict[str, Manifest]:
    runtime = {"engine": "Custom", "image": IMAGE, "container": container} | spec.pop("runtime", {})
    given = {"artifact": {"uri": "s3://models/digits/model.pt"} | (artifact or {}), "runtime": runtime} | spec
    children = render_children(OWNER, ModelDeploymentSpec.model_validate(given), SETTINGS)
    return {child["kind"]: child for child in children}


def pod(*args: Any, **spec: Any) -> Manifest:
    found: Manifest = rendered(*args, **spec)["Deployment"]["spec"]["template"]["spec"]
    return found


def variables(container: Manifest) -> dict[str, str]:
    return {item["name"]: item.get("value", "") for item in container["env"]}


def test_the_artifact_is_fetched_and_checked_before_the_server_starts() -> None:
    digest = f"sha256:{'0' * 64}"
    children = rendered({"digest": digest})
    (text,) = children["ConfigMap"]["data"].values()
    assert RuntimeConfig.model_validate_json(text).artifact.digest == digest
    spec = children["Deployment"]["spec"]["template"]["spec"]
    (fetch,), (server,) = spec["initContainers"], spec["containers"]
    assert fetch["image"] == SETTINGS.runtime_image
    assert fetch["args"][-2:] == ["--fetch-to", ARTIFACT_DIRECTORY]
    assert server["image"] == IMAGE
    assert variables(server)["SLIPWAY_ARTIFACT_PATH"] == f"{ARTIFACT_DIRECTORY}/model.pt"
    written, read = (
        [m for m in item["volumeMounts"] if m["mountPath"] == ARTIFACT_DIRECTORY] for item in (fetch, server)
    )
    assert written[0]["name"] == read[0]["name"]
    assert (written[0].get("readOnly", False), read[0]["readOnly"]) == (False, True)


def test_the_servers_container_gets_no_credentials_of_the_store() -> None:
    spec = pod(
        {"credentials": {"secretRef": {"name": "store"}}}, runtime={"envFrom": [{"configMapRef": {"name": "own"}}]}
    )
    assert spec["initContainers"][0]["envFrom"] == [{"secretRef": {"name": "store"}}]
    assert spec["containers"][0]["envFrom"] == [{"configMapRef": {"name": "own"}}]


def test_it_is_told_its_port_name_and_times() -> None:
    (server,) = pod(container={"port": 3000}, traffic={"requestTimeoutSeconds": 45})["containers"]
    told = variables(server)
    assert (told["PORT"], told["SLIPWAY_MODEL_NAME"], told["SLIPWAY_REQUEST_TIMEOUT_SECONDS"]) == (
        "3000",
        "digits",
        "45",
    )
    assert "SLIPWAY_ROOT_PATH" not in told
    (behind_a_path,) = pod(exposure={"ingress": {"path": "/models/digits"}})["containers"]
    assert variables(behind_a_path)["SLIPWAY_ROOT_PATH"] == "/models/digits"


def test_the_users_variables_win() -> None:
    (server,) = pod(runtime={"env": [{"name": "PORT", "value": "9"}]})["containers"]
    assert [item for item in server["env"] if item["name"] == "PORT"] == [{"name": "PORT", "value": "9"}]


def test_probes_ask_its_own_paths_and_by_default_only_one() -> None:
    (server,) = pod()["containers"]
    assert server["readinessProbe"]["httpGet"]["path"] == server["startupProbe"]["httpGet"]["path"] == "/healthz"
    assert server["livenessProbe"]["tcpSocket"] == {"port": "http"}
    (own,) = pod(container={"readinessPath": "/ready", "livenessPath": "/live"})["containers"]
    assert (own["readinessProbe"]["httpGet"]["path"], own["livenessProbe"]["httpGet"]["path"]) == ("/ready", "/live")


def test_the_service_leads_to_its_port() -> None:
    children = rendered(container={"port": 3000})
    (port,) = children["Deployment"]["spec"]["template"]["spec"]["containers"][0]["ports"]
    (way,) = children["Service"]["spec"]["ports"]
    assert (port["containerPort"], way["targetPort"]) == (3000, port["name"])


def test_the_program_and_its_arguments_are_the_users() -> None:
    (server,) = pod(container={"command": ["python", "app.py"]}, runtime={"args": ["--fast"]})["containers"]
    assert (server["command"], server["args"]) == (["python", "app.py"], ["--fast"])
    (plain,) = pod()["containers"]
    assert not {"command", "args"} & plain.keys()


def test_endpoints_have_forgotten_it_before_it_is_told_to_stop() -> None:
    spec = pod()
    pause = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert 0 < pause < spec["terminationGracePeriodSeconds"] - 30


def test_both_containers_meet_pod_security_restricted() -> None:
    spec = pod(container={"writableRootFilesystem": True})
    for container in (*spec["initContainers"], *spec["containers"]):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert spec["initContainers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    assert spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is False


def test_fetching_asks_for_no_gpu_and_costs_no_more_than_serving() -> None:
    resources = {"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"memory": "2Gi"}, "gpu": {"count": 1}}
    spec = pod(resources=resources)
    assert spec["initContainers"][0]["resources"] == {
        "requests": {"cpu": "2", "memory": "1Gi"},
        "limits": {"memory": "2Gi"},
    }
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_a_file_of_its_own_image_is_used_where_it_lies() -> None:
    spec = pod({"uri": "file:///opt/a%20model.onnx"})
    assert "initContainers" not in spec
    assert variables(spec["containers"][0])["SLIPWAY_ARTIFACT_PATH"] == "/opt/a model.onnx"


def test_its_metrics_are_found_and_may_be_read() -> None:
    children = rendered(
        container={"port": 3000, "metricsPath": "/metrics"}, networkPolicy={"monitors": [{"namespaceSelector": {}}]}
    )
    annotations = children["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert {name: value for name, value in annotations.items() if name.startswith("prometheus.io/")} == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "3000",
        "prometheus.io/path": "/metrics",
    }
    ports = [port["port"] for rule in children["NetworkPolicy"]["spec"]["ingress"] for port in rule["ports"]]
    assert set(ports) == {"http"}


def test_the_runtime_takes_further_arguments_and_variables() -> None:
    runtime = {"engine": "Slipway", "image": None, "container": None, "args": ["--log-format", "text"]}
    sources = [{"secretRef": {"name": "tokens"}, "prefix": "HUB_"}]
    (server,) = pod({"credentials": {"secretRef": {"name": "store"}}}, runtime=runtime | {"envFrom": sources})[
        "containers"
    ]
    assert server["args"] == ["--config", "/etc/slipway/config.json", "--log-format", "text"]
    assert server["envFrom"] == [{"secretRef": {"name": "store"}}, *sources]
