"""Rendered children, as the files in tests/golden show them. `UPDATE_GOLDEN=1` writes the files anew."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from slipway_operator.api.pod_template import MOUNT_PATHS, OWN_LABELS, OWN_PREFIX, VOLUME_NAMES
from slipway_operator.api.v1alpha1 import ModelDeploymentSpec
from slipway_operator.names import CONFIG_HASH_ANNOTATION, TEMPLATE_HASH_ANNOTATION, VERSION_LABEL
from slipway_operator.render.children import render_children
from slipway_operator.render.deployment import grace_period_seconds, image_version, template_hash
from slipway_operator.render.manifest import Manifest, Owner, RenderSettings
from slipway_operator.render.runtime_config import render_runtime_config
from slipway_runtime.contract import RuntimeConfig

pytestmark = pytest.mark.unit

GOLDEN: Final = Path(__file__).parents[2] / "golden"
OWNER: Final = Owner(namespace="vision", name="digits", uid="00000000-0000-4000-8000-000000000001")
SETTINGS: Final = RenderSettings("registry.example.com/slipway-runtime:1.0", "IfNotPresent")

SPECS: Final[dict[str, dict[str, Any]]] = {
    "minimal": {"artifact": {"uri": "https://models.example.com/digits.pt"}},
    "complete": {
        "artifact": {
            "uri": "s3://models/digits.pt",
            "digest": f"sha256:{'0123456789abcdef' * 4}",
            "format": "TorchScript",
            "credentials": {"secretRef": {"name": "s3-keys"}},
            "stallTimeoutSeconds": 60,
        },
        "runtime": {
            "image": "registry.example.com/own-runtime:2.0",
            "imagePullPolicy": "Always",
            "imagePullSecrets": [{"name": "registry"}],
            "env": [
                {"name": "OMP_NUM_THREADS", "value": "2"},
                {"name": "EMPTY", "value": ""},
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "own"}}},
            ],
            "warmup": {"samples": [{"inputs": [{"name": "image", "shape": [-1, 1, 8, 8]}]}]},
            "execution": {"isolation": "Worker", "workers": 2, "threads": 4},
            "tuning": {"precision": "BF16"},
        },
        "batching": {"maxBatchSize": 64, "maxQueueLength": 500, "allowedBatchSizes": [1, 8, 64]},
        "sla": {"p50Milliseconds": 20, "p99Milliseconds": 100},
        "resources": {
            "gpu": {"count": 2, "resourceName": "nvidia.com/mig-1g.5gb"},
            "requests": {"cpu": "500m", "memory": "1Gi"},
            "limits": {"memory": "2Gi"},
        },
        "replicas": 3,
        "exposure": {
            "service": {
                "type": "LoadBalancer",
                "port": 8000,
                "grpcPort": 9000,
                "annotations": {"cloud.example.com/internal": "true"},
            },
            "ingress": {
                "className": "traefik",
                "host": "digits.example.com",
                "path": "/models/digits",
                "tls": {"secretName": "digits-tls"},
                "annotations": {"example.com/body-size": "64m"},
            },
        },
        "traffic": {
            "requestTimeoutSeconds": 90,
            "maxRequestBytes": 1048576,
            "maxConcurrency": 256,
            "auth": {"apiKeysSecretRef": {"name": "digits-keys"}},
            "tls": {"secretName": "digits-internal-tls"},
        },
        "rollout": {"progressDeadlineSeconds": 601},
        "disruption": {"maxUnavailable": "34%"},
        "networkPolicy": {
            "clients": [
                {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "traefik"}}},
                {"podSelector": {}},
            ],
            "monitors": [
                {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}},
                    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
                }
            ],
        },
        "podTemplate": {
            "labels": {"team": "vision"},
            "annotations": {"example.com/scrape": "true"},
            "nodeSelector": {"accelerator": "a100"},
            "affinity": {
                "podAntiAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {
                            "weight": 50,
                            "podAffinityTerm": {
                                "labelSelector": {"matchLabels": {"noisy": "true"}},
                                "topologyKey": "kubernetes.io/hostname",
                            },
                        }
                    ]
                }
            },
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "topologySpreadConstraints": [
                {"topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}
            ],
            "priorityClassName": "serving",
            "runtimeClassName": "nvidia",
            "serviceAccountName": "models-reader",
            "volumes": [
                {"name": "authorities", "configMap": {"name": "authorities"}},
                {"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}},
            ],
            "volumeMounts": [
                {"name": "authorities", "mountPath": "/etc/authorities", "readOnly": True},
                {"name": "scratch", "mountPath": "/scratch"},
            ],
            "securityContext": {"runAsUser": 1000, "supplementalGroups": [2000]},
        },
    },
}


def rendered(**spec: Any) -> dict[str, Manifest]:
    given = {"artifact": {"uri": "s3://models/digits.pt"}} | spec
    children = render_children(OWNER, ModelDeploymentSpec.model_validate(given), SETTINGS)
    return {child["kind"]: child for child in children}


def template(**spec: Any) -> Manifest:
    found: Manifest = rendered(**spec)["Deployment"]["spec"]["template"]
    return found


@pytest.mark.parametrize("name", SPECS)
def test_children_are_rendered_as_the_golden_file_shows(name: str) -> None:
    spec = ModelDeploymentSpec.model_validate(SPECS[name])
    text = yaml.safe_dump_all(render_children(OWNER, spec, SETTINGS), sort_keys=False, width=120)
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_equal_specs_have_equal_hashes_whatever_their_order() -> None:
    one = rendered(resources={"requests": {"cpu": "1", "memory": "1Gi"}})
    two = rendered(resources={"requests": {"memory": "1Gi", "cpu": "1"}})
    assert template_hash(one["Deployment"]) == template_hash(two["Deployment"])


def test_scaling_changes_no_pod() -> None:
    assert template(replicas=1) == template(replicas=5)
    assert rendered(replicas=5)["Deployment"]["spec"]["replicas"] == 5


def test_a_changed_configuration_changes_the_pods_and_has_a_key_of_its_own() -> None:
    before, after = rendered(), rendered(traffic={"requestTimeoutSeconds": 60})
    hashes = [child["Deployment"]["spec"]["template"]["metadata"]["annotations"] for child in (before, after)]
    assert hashes[0][CONFIG_HASH_ANNOTATION] != hashes[1][CONFIG_HASH_ANNOTATION]
    assert hashes[0][TEMPLATE_HASH_ANNOTATION] != hashes[1][TEMPLATE_HASH_ANNOTATION]
    assert not before["ConfigMap"]["data"].keys() & after["ConfigMap"]["data"].keys()


def test_the_configuration_can_be_read_back_by_the_runtime() -> None:
    spec = ModelDeploymentSpec.model_validate(SPECS["complete"])
    (text,) = rendered(**SPECS["complete"])["ConfigMap"]["data"].values()
    read = RuntimeConfig.model_validate_json(text)
    assert read == render_runtime_config("digits", spec)
    assert read.root_path == "/models/digits"
    assert read.warmup_samples[0].inputs[0].shape == [-1, 1, 8, 8]
    assert (read.sla.p50_milliseconds, read.sla.p95_milliseconds, read.sla.p99_milliseconds) == (20, None, 100)
    assert read.batching.allowed_batch_sizes == [1, 8, 64]
    assert (read.engine.kind, read.engine.workers, read.engine.threads) == ("Worker", 2, 4)
    assert read.tuning.precision == "BF16"


def test_a_block_without_fields_means_the_runtimes_own_defaults() -> None:
    blocks = {"batching": {}, "runtime": {"execution": {}, "tuning": {}}}
    spec = ModelDeploymentSpec.model_validate({"artifact": {"uri": "s3://models/digits.pt"}} | blocks)
    plain = ModelDeploymentSpec.model_validate({"artifact": {"uri": "s3://models/digits.pt"}})
    assert render_runtime_config("digits", spec) == render_runtime_config("digits", plain)


def test_the_configuration_says_only_what_the_spec_does() -> None:
    """A setting that a later version of the runtime adds must not restart every pod."""
    (text,) = rendered()["ConfigMap"]["data"].values()
    written = json.loads(text).keys()
    assert not written & {"batching", "sla", "engine", "tuning", "limits", "accessLog", "tls", "auth", "grpcPort"}


def test_tuning_can_be_switched_off() -> None:
    (text,) = rendered(runtime={"tuning": {"mode": "Disabled"}})["ConfigMap"]["data"].values()
    assert RuntimeConfig.model_validate_json(text).tuning.enabled is False


def test_grpc_is_opened_from_the_service_to_the_process_and_only_when_asked_for() -> None:
    children = rendered(exposure={"service": {"grpcPort": 9443}})
    (text,) = children["ConfigMap"]["data"].values()
    ports = children["Deployment"]["spec"]["template"]["spec"]["containers"][0]["ports"]
    (container_port,) = [port["containerPort"] for port in ports if port["name"] == "grpc"]
    (service_port,) = [port for port in children["Service"]["spec"]["ports"] if port["name"] == "grpc"]
    assert RuntimeConfig.model_validate_json(text).grpc_port == container_port
    assert (service_port["port"], service_port["targetPort"]) == (9443, "grpc")
    assert "grpc" not in str(rendered())


@pytest.mark.feature("endpoint-auth")
def test_the_secret_with_api_keys_is_mounted_where_the_runtime_reads_it() -> None:
    children = rendered(traffic={"auth": {"apiKeysSecretRef": {"name": "keys"}}})
    pod = children["Deployment"]["spec"]["template"]["spec"]
    (text,) = children["ConfigMap"]["data"].values()
    auth = RuntimeConfig.model_validate_json(text).auth
    assert auth is not None
    (volume,) = [volume for volume in pod["volumes"] if "secret" in volume]
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == volume["name"]]
    assert volume["secret"]["secretName"] == "keys"
    assert mount["mountPath"] == auth.api_keys_path
    assert mount["readOnly"] is True
    assert "subPath" not in mount, "the kubelet updates no subPath, so a rotated key would need a restart"


def test_the_config_map_with_warm_up_samples_is_mounted_where_the_runtime_reads_its_key() -> None:
    children = rendered(runtime={"warmup": {"configMapRef": {"name": "digits-warmup", "key": "small.json"}}})
    pod = children["Deployment"]["spec"]["template"]["spec"]
    (text,) = children["ConfigMap"]["data"].values()
    (volume,) = [volume for volume in pod["volumes"] if volume.get("configMap", {}).get("name") == "digits-warmup"]
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == volume["name"]]
    (item,) = volume["configMap"]["items"]
    assert RuntimeConfig.model_validate_json(text).warmup_samples_path == f"{mount['mountPath']}/{item['path']}"
    assert (item["key"], mount["readOnly"]) == ("small.json", True)
    assert volume["configMap"]["optional"] is True, "else the kubelet waits for it, and the runtime cannot say so"
    assert not RuntimeConfig.model_validate_json(text).warmup_samples


def test_another_config_map_with_samples_is_another_revision() -> None:
    one, two = (template(runtime={"warmup": {"configMapRef": {"name": name}}}) for name in ("samples-1", "samples-2"))
    hashes = {found["metadata"]["annotations"][TEMPLATE_HASH_ANNOTATION] for found in (one, two)}
    assert len(hashes) == 2


def test_the_bound_of_concurrency_reaches_the_runtime_and_none_is_set_by_default() -> None:
    bounded, unbounded = (rendered(traffic=traffic)["ConfigMap"]["data"] for traffic in ({"maxConcurrency": 8}, {}))
    read = [RuntimeConfig.model_validate_json(text) for texts in (bounded, unbounded) for text in texts.values()]
    assert [config.max_concurrency for config in read] == [8, None]
    assert "maxConcurrency" not in str(unbounded)


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("registry.example.com/slipway-runtime:1.0", "1.0"),
        ("localhost:5000/runtime", None),
        ("localhost:5000/runtime:2.0@sha256:0123", "2.0"),
        ("runtime@sha256:0123", None),
        ("runtime:" + "a" * 62 + "-b", "a" * 62),
        ("runtime:_", None),
    ],
)
def test_the_version_is_the_tag_as_far_as_a_label_can_hold_it(image: str, version: str | None) -> None:
    assert image_version(image) == version


def test_the_version_is_on_the_deployment_and_neither_in_its_selector_nor_on_its_pods() -> None:
    children = rendered()
    deployment = children.pop("Deployment")
    assert deployment["metadata"]["labels"][VERSION_LABEL] == "1.0"
    assert VERSION_LABEL not in str(deployment["spec"])
    assert VERSION_LABEL not in str(children)
    assert VERSION_LABEL not in rendered(runtime={"image": "own@sha256:0123"})["Deployment"]["metadata"]["labels"]


@pytest.mark.feature("request-timeout")
def test_the_grace_period_outlasts_the_slowest_request() -> None:
    spec = ModelDeploymentSpec.model_validate(SPECS["complete"])
    config = render_runtime_config("digits", spec)
    assert grace_period_seconds(config) > config.drain_delay_seconds + config.request_timeout_seconds
    pod = template(**SPECS["complete"])["spec"]
    assert pod["terminationGracePeriodSeconds"] == grace_period_seconds(config)


def test_a_start_may_take_as_long_as_the_progress_deadline() -> None:
    probe = template(rollout={"progressDeadlineSeconds": 601})["spec"]["containers"][0]["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 601


def test_pods_meet_pod_security_restricted() -> None:
    pod = template()["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {kind for volume in pod["volumes"] for kind in volume} <= {"name", "configMap", "emptyDir"}


HOST_SPREAD: Final = {"topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule", "maxSkew": 2}


def test_additions_to_the_pods_are_merged_and_what_the_operator_promises_stays() -> None:
    given = {
        "labels": {"app.kubernetes.io/instance": "other", "team": "vision"},
        "annotations": {TEMPLATE_HASH_ANNOTATION: "mine", "note": "x"},
        "topologySpreadConstraints": [HOST_SPREAD],
        "securityContext": {"runAsUser": 1000},
    }
    plain, added = template(), template(podTemplate=given)
    assert added["metadata"]["labels"] == plain["metadata"]["labels"] | {"team": "vision"}
    assert added["metadata"]["annotations"]["note"] == "x"
    assert added["metadata"]["annotations"][TEMPLATE_HASH_ANNOTATION] != "mine"
    assert added["spec"]["securityContext"] == plain["spec"]["securityContext"] | {"runAsUser": 1000}
    zone, host = added["spec"]["topologySpreadConstraints"]
    assert zone == plain["spec"]["topologySpreadConstraints"][1]
    assert host == plain["spec"]["topologySpreadConstraints"][0] | HOST_SPREAD


@pytest.mark.parametrize(("given", "wanted"), [(None, 1), ({}, 1), ({"maxUnavailable": 2}, 2)])
def test_a_drain_takes_one_pod_at_a_time_unless_more_are_allowed(given: Any, wanted: int) -> None:
    assert rendered(replicas=3, disruption=given)["PodDisruptionBudget"]["spec"]["maxUnavailable"] == wanted
    assert "PodDisruptionBudget" not in rendered(replicas=1, disruption=given)


def test_pods_speak_tls_with_the_mounted_pair_when_the_manifest_names_one() -> None:
    children = rendered(traffic={"tls": {"secretName": "pair"}}, exposure={"service": {"grpcPort": 9000}})
    (text,) = children["ConfigMap"]["data"].values()
    tls = RuntimeConfig.model_validate_json(text).tls
    assert tls is not None
    pod = children["Deployment"]["spec"]["template"]["spec"]
    (volume,) = [volume for volume in pod["volumes"] if "secret" in volume]
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == volume["name"]]
    assert volume["secret"]["secretName"] == "pair"
    assert (tls.certificate_path, tls.key_path) == (f"{mount['mountPath']}/tls.crt", f"{mount['mountPath']}/tls.key")
    assert {port["appProtocol"] for port in children["Service"]["spec"]["ports"]} == {"https"}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert pod["containers"][0][probe]["httpGet"]["scheme"] == "HTTP", "the admin port stays plain"


def test_only_the_own_namespace_may_ask_when_a_network_policy_names_nobody() -> None:
    policy = rendered(networkPolicy={})["NetworkPolicy"]["spec"]
    assert policy["ingress"] == [{"from": [{"podSelector": {}}], "ports": [{"port": "http", "protocol": "TCP"}]}]
    assert policy["podSelector"]["matchLabels"].items() <= template()["metadata"]["labels"].items()
    assert "NetworkPolicy" not in rendered()


def test_every_port_of_a_network_policy_is_one_of_the_pods() -> None:
    children = rendered(
        networkPolicy={"monitors": [{"namespaceSelector": {}}]}, exposure={"service": {"grpcPort": 9000}}
    )
    allowed = children["NetworkPolicy"]["spec"]["ingress"]
    ports = {port["name"] for port in children["Deployment"]["spec"]["template"]["spec"]["containers"][0]["ports"]}
    assert {port["port"] for rule in allowed for port in rule["ports"]} == ports == {"http", "grpc", "admin"}


def test_an_empty_addition_changes_no_pod() -> None:
    assert template(podTemplate={}) == template()
    spelt_out = {"volumes": [{"name": "a", "secret": {"secretName": "s", "optional": False}}]}
    assert template(podTemplate=spelt_out) == template(
        podTemplate={"volumes": [{"name": "a", "secret": {"secretName": "s"}}]}
    )


def test_names_and_paths_of_the_operators_own_volumes_are_the_ones_that_users_cannot_take() -> None:
    secrets = {"auth": {"apiKeysSecretRef": {"name": "keys"}}, "tls": {"secretName": "pair"}}
    warmup = {"warmup": {"configMapRef": {"name": "samples"}}}
    pod = template(traffic=secrets, resources={"sharedMemory": "1Gi"}, runtime=warmup)["spec"]
    assert {volume["name"] for volume in pod["volumes"]} == set(VOLUME_NAMES)
    for mount in pod["containers"][0]["volumeMounts"]:
        assert any(mount["mountPath"] == path or mount["mountPath"].startswith(f"{path}/") for path in MOUNT_PATHS)
    assert {label for label in template()["metadata"]["labels"] if not label.startswith(OWN_PREFIX)} == set(OWN_LABELS)


def test_the_installations_pull_policy_is_not_forced_upon_an_image_of_the_users() -> None:
    assert template()["spec"]["containers"][0]["imagePullPolicy"] == "IfNotPresent"
    own = template(runtime={"image": "registry.example.com/own:1"})["spec"]["containers"][0]
    assert "imagePullPolicy" not in own


def test_the_users_home_wins() -> None:
    variables = template(runtime={"env": [{"name": "HOME", "value": "/home/me"}]})["spec"]["containers"][0]["env"]
    assert [variable for variable in variables if variable["name"] == "HOME"] == [{"name": "HOME", "value": "/home/me"}]
