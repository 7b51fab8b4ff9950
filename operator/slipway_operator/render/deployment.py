"""The Deployment that runs the pods. Pure.

Every value that the operator answers for is written out, so that a change by hand is seen and put back. What
depends on `spec.replicas` stays out of the pod template: scaling must not start a rollout.
"""

from __future__ import annotations

import math
from typing import Any, Final

from slipway_operator.api.container import EnvVar
from slipway_operator.api.v1alpha1 import ModelDeploymentSpec, Rollout, Runtime, Traffic
from slipway_operator.names import (
    ADMIN_PORT_NAME,
    CONFIG_HASH_ANNOTATION,
    GRPC_PORT_NAME,
    INFERENCE_PORT_NAME,
    RUNTIME_CONTAINER,
    TEMPLATE_HASH_ANNOTATION,
    child_labels,
    config_key,
    config_map_name,
    selector_labels,
)
from slipway_operator.render.config_map import config_hash
from slipway_operator.render.manifest import Manifest, Owner, RenderSettings, metadata, stable_hash
from slipway_operator.render.pod_template import with_additions
from slipway_operator.render.resources import (
    SHARED_MEMORY_PATH,
    SHARED_MEMORY_VOLUME,
    cache_size,
    container_resources,
    gpu_tolerations,
    shared_memory,
)
from slipway_operator.render.service import service_exposure
from slipway_operator.scaling import wanted_replicas
from slipway_runtime import contract

RUNTIME_UID: Final = 65532
"""The user "nonroot" of distroless images and of the runtime's own."""
REVISION_HISTORY_LIMIT: Final = 5
GRACE_MARGIN_SECONDS: Final = 10
"""For the process itself to end, after the last request was answered."""
STARTUP_PROBE_PERIOD_SECONDS: Final = 2

_SURGE: Final = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
_STRATEGIES: Final = {"Auto": _SURGE, "Rolling": _SURGE, "Recreate": {"type": "Recreate"}}

_CONFIG_VOLUME: Final = "config"
_CACHE_VOLUME: Final = "cache"
_API_KEYS_VOLUME: Final = "api-keys"
_TMP_VOLUME: Final = "tmp"
_TLS_VOLUME: Final = "tls"
_OWNER_AND_GROUP_READ: Final = 0o440
"""The file belongs to root and to the pod's fsGroup."""
_TMP_DIRECTORY: Final = "/tmp"  # noqa: S108 - a volume of the pod, shared with nobody


def render_deployment(owner: Owner, spec: ModelDeploymentSpec, template: Manifest) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(owner, owner.name),
        "spec": {
            "replicas": wanted_replicas(spec),
            "revisionHistoryLimit": REVISION_HISTORY_LIMIT,
            "progressDeadlineSeconds": _rollout(spec).progress_deadline_seconds,
            "strategy": _STRATEGIES[_rollout(spec).strategy],
            "selector": {"matchLabels": selector_labels(owner.name)},
            "template": template,
        },
    }


def template_hash(deployment: Manifest) -> str:
    """The hash that the pods of this Deployment carry."""
    found: str = deployment["spec"]["template"]["metadata"]["annotations"][TEMPLATE_HASH_ANNOTATION]
    return found


def render_template(
    owner: Owner, spec: ModelDeploymentSpec, config: contract.RuntimeConfig, settings: RenderSettings
) -> Manifest:
    """The pods, with the hash by which this rendering is known."""
    annotations = {CONFIG_HASH_ANNOTATION: config_hash(config)}
    template: dict[str, Any] = {
        "metadata": {"labels": child_labels(owner.name), "annotations": annotations},
        "spec": _pod_spec(owner, spec, config, settings),
    }
    if spec.pod_template is not None:
        template = with_additions(template, spec.pod_template)
    template["metadata"]["annotations"][TEMPLATE_HASH_ANNOTATION] = stable_hash(template)
    return template


def _pod_spec(
    owner: Owner, spec: ModelDeploymentSpec, config: contract.RuntimeConfig, settings: RenderSettings
) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "serviceAccountName": owner.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_period_seconds(config),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": RUNTIME_UID,
            "runAsGroup": RUNTIME_UID,
            "fsGroup": RUNTIME_UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            _spread(owner, "kubernetes.io/hostname"),
            _spread(owner, "topology.kubernetes.io/zone"),
        ],
        "containers": [_container(spec, settings)],
        "volumes": _volumes(owner, spec, config),
    }
    pull_secrets = _runtime(spec).image_pull_secrets
    if tolerations := gpu_tolerations(spec.resources):
        pod["tolerations"] = tolerations
    if pull_secrets:
        pod["imagePullSecrets"] = [{"name": secret.name} for secret in pull_secrets]
    return pod


def _volumes(owner: Owner, spec: ModelDeploymentSpec, config: contract.RuntimeConfig) -> list[dict[str, Any]]:
    config_file = {
        "key": config_key(config_hash(config)),
        "path": contract.CONFIG_PATH.removeprefix(f"{contract.CONFIG_DIRECTORY}/"),
    }
    volumes: list[dict[str, Any]] = [
        {"name": _CONFIG_VOLUME, "configMap": {"name": config_map_name(owner.name), "items": [config_file]}},
        {"name": _CACHE_VOLUME, "emptyDir": {"sizeLimit": size} if (size := cache_size(spec)) else {}},
        {"name": _TMP_VOLUME, "emptyDir": {}},
    ]
    if (memory := shared_memory(spec.resources)) is not None:
        volumes.append({"name": SHARED_MEMORY_VOLUME, "emptyDir": memory})
    for name, (secret, _) in _secrets(spec).items():
        volumes.append({"name": name, "secret": {"secretName": secret, "defaultMode": _OWNER_AND_GROUP_READ}})
    return volumes


def _secrets(spec: ModelDeploymentSpec) -> dict[str, tuple[str, str]]:
    """Name and folder of each Secret that is mounted, by the volume's name."""
    traffic = spec.traffic or Traffic()
    found = {}
    if traffic.auth is not None:
        found[_API_KEYS_VOLUME] = (traffic.auth.api_keys_secret_ref.name, contract.API_KEYS_DIRECTORY)
    if traffic.tls is not None:
        found[_TLS_VOLUME] = (traffic.tls.secret_name, contract.TLS_DIRECTORY)
    return found


def grace_period_seconds(config: contract.RuntimeConfig) -> int:
    """Long enough for endpoints to forget the pod, then for the slowest request, then for the process to end."""
    drain_seconds = max(config.drain_delay_seconds, config.drain_limit_seconds)
    return drain_seconds + config.request_timeout_seconds + GRACE_MARGIN_SECONDS


def _spread(owner: Owner, topology_key: str) -> dict[str, Any]:
    return {
        "maxSkew": 1,
        "topologyKey": topology_key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector_labels(owner.name)},
        # Else pods of the old revision would push the new ones aside in a rollout.
        "matchLabelKeys": ["pod-template-hash"],
    }


def _container(spec: ModelDeploymentSpec, settings: RenderSettings) -> dict[str, Any]:
    runtime = _runtime(spec)
    container: dict[str, Any] = {
        "name": RUNTIME_CONTAINER,
        "image": runtime.image or settings.runtime_image,
        "args": ["--config", contract.CONFIG_PATH],
        "ports": _ports(spec),
        "env": _environment(runtime.env),
        "resources": container_resources(spec),
        "volumeMounts": _mounts(spec),
        "startupProbe": _probe(
            contract.STARTUP_PATH,
            period_seconds=STARTUP_PROBE_PERIOD_SECONDS,
            failure_threshold=math.ceil(_rollout(spec).progress_deadline_seconds / STARTUP_PROBE_PERIOD_SECONDS),
        ),
        "readinessProbe": _probe(contract.READY_PATH, period_seconds=5, failure_threshold=2),
        "livenessProbe": _probe(contract.LIVE_PATH, period_seconds=10, failure_threshold=6),
        "terminationMessagePath": contract.TERMINATION_MESSAGE_PATH,
        # A runtime that dies without a word leaves the end of its log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    pull_policy = runtime.image_pull_policy or ("" if runtime.image else settings.runtime_image_pull_policy)
    if pull_policy:
        container["imagePullPolicy"] = pull_policy
    if spec.artifact.credentials is not None:
        container["envFrom"] = [{"secretRef": {"name": spec.artifact.credentials.secret_ref.name}}]
    return container


def _ports(spec: ModelDeploymentSpec) -> list[dict[str, Any]]:
    numbers = {INFERENCE_PORT_NAME: contract.INFERENCE_PORT, ADMIN_PORT_NAME: contract.ADMIN_PORT}
    if service_exposure(spec).grpc_port is not None:
        numbers[GRPC_PORT_NAME] = contract.GRPC_PORT
    return [{"name": name, "containerPort": number, "protocol": "TCP"} for name, number in numbers.items()]


def _mounts(spec: ModelDeploymentSpec) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = [
        {"name": _CONFIG_VOLUME, "mountPath": contract.CONFIG_DIRECTORY, "readOnly": True},
        {"name": _CACHE_VOLUME, "mountPath": contract.CACHE_DIRECTORY},
        {"name": _TMP_VOLUME, "mountPath": _TMP_DIRECTORY},
    ]
    if shared_memory(spec.resources) is not None:
        mounts.append({"name": SHARED_MEMORY_VOLUME, "mountPath": SHARED_MEMORY_PATH})
    for name, (_, directory) in _secrets(spec).items():
        mounts.append({"name": name, "mountPath": directory, "readOnly": True})
    return mounts


def _probe(path: str, *, period_seconds: int, failure_threshold: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": ADMIN_PORT_NAME, "scheme": "HTTP"},
        "periodSeconds": period_seconds,
        "timeoutSeconds": 5,
        "failureThreshold": failure_threshold,
    }


def names_revision(deployment: Manifest) -> bool:
    """Whether the pods are told their revision, and so can tell it to whoever checks the way to them."""
    (container, *_) = deployment["spec"]["template"]["spec"]["containers"]
    variables = {variable["name"]: variable for variable in container.get("env") or []}
    return "fieldRef" in (variables.get(contract.REVISION_VARIABLE, {}).get("valueFrom") or {})


def _environment(given: list[EnvVar]) -> list[dict[str, Any]]:
    """The user's variables win over ours."""
    found: list[dict[str, Any]] = []
    names = {variable.name for variable in given}
    if "HOME" not in names:
        # Libraries keep caches under the home directory, and the root file system is read-only.
        found.append({"name": "HOME", "value": _TMP_DIRECTORY})
    if contract.REVISION_VARIABLE not in names:
        path = {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{TEMPLATE_HASH_ANNOTATION}']"}
        found.append({"name": contract.REVISION_VARIABLE, "valueFrom": {"fieldRef": path}})
    for variable in given:
        entry: dict[str, Any] = variable.model_dump(by_alias=True, exclude_none=True)
        if entry.get("value") == "":
            # The API server drops an empty value, which would look like a change by hand.
            del entry["value"]
        found.append(entry)
    return found


def _runtime(spec: ModelDeploymentSpec) -> Runtime:
    return spec.runtime or Runtime()


def _rollout(spec: ModelDeploymentSpec) -> Rollout:
    return spec.rollout or Rollout()
