"""Containers of engine Custom: one that fetches the artifact, then any server that speaks HTTP. Pure.

The server is told by variables, finds the artifact as a file and is asked on one port. docs/containers.md is its side.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote, urlsplit

from slipway_operator.api.v1alpha1 import CustomContainer, ModelDeploymentSpec, Runtime
from slipway_operator.names import FETCH_CONTAINER, INFERENCE_PORT_NAME, RUNTIME_CONTAINER
from slipway_operator.render.container import (
    RUNTIME_ARGUMENTS,
    STARTUP_PROBE_PERIOD_SECONDS,
    credentials,
    environment,
    environment_sources,
    last_words,
    probe,
    security_context,
    startup_attempts,
)
from slipway_operator.render.manifest import Owner, RenderSettings
from slipway_operator.render.resources import container_resources
from slipway_operator.render.volumes import (
    CONFIG_MOUNT,
    TMP_DIRECTORY,
    TMP_MOUNT,
    artifact_mount,
    shared_memory_mounts,
)
from slipway_runtime import contract

_BASIC: Final = ("cpu", "memory", "ephemeral-storage")
"""What fetching asks of a node: as much as the server, so that it costs nothing beside it, but no devices."""


def is_custom(spec: ModelDeploymentSpec) -> bool:
    return spec.runtime is not None and spec.runtime.engine == "Custom"


def contract_of(spec: ModelDeploymentSpec) -> CustomContainer:
    return (spec.runtime or Runtime()).container or CustomContainer()


def fetch_container(spec: ModelDeploymentSpec, settings: RenderSettings) -> dict[str, Any] | None:
    """None for a file that lies in the server's image."""
    if spec.artifact.uri.startswith("file://"):
        return None
    resources = {
        kind: {name: amount for name, amount in amounts.items() if name in _BASIC}
        for kind, amounts in container_resources(spec).items()
    }
    container: dict[str, Any] = {
        "name": FETCH_CONTAINER,
        "image": settings.runtime_image,
        "args": [*RUNTIME_ARGUMENTS, "--fetch-to", contract.ARTIFACT_DIRECTORY],
        "env": environment([], HOME=TMP_DIRECTORY),
        "resources": {kind: amounts for kind, amounts in resources.items() if amounts},
        "volumeMounts": [dict(CONFIG_MOUNT), artifact_mount(read_only=False), dict(TMP_MOUNT)],
        **last_words(),
        "securityContext": security_context(),
    }
    if settings.runtime_image_pull_policy:
        container["imagePullPolicy"] = settings.runtime_image_pull_policy
    if sources := credentials(spec):
        container["envFrom"] = sources
    return container


def custom_container(owner: Owner, spec: ModelDeploymentSpec, config: contract.RuntimeConfig) -> dict[str, Any]:
    runtime, told = spec.runtime or Runtime(), contract_of(spec)
    ready = _get(told.readiness_path)
    container: dict[str, Any] = {
        "name": RUNTIME_CONTAINER,
        "image": runtime.image,
        "ports": [{"name": INFERENCE_PORT_NAME, "containerPort": told.port, "protocol": "TCP"}],
        "env": environment(runtime.env, **_variables(owner, spec, config)),
        "resources": container_resources(spec),
        "volumeMounts": [artifact_mount(read_only=True), dict(TMP_MOUNT), *shared_memory_mounts(spec)],
        "startupProbe": probe(
            ready, period_seconds=STARTUP_PROBE_PERIOD_SECONDS, failure_threshold=startup_attempts(spec)
        ),
        "readinessProbe": probe(ready, period_seconds=5, failure_threshold=2),
        "livenessProbe": probe(
            _get(told.liveness_path) if told.liveness_path else {"tcpSocket": {"port": INFERENCE_PORT_NAME}},
            period_seconds=10,
            failure_threshold=6,
        ),
        # The server need not know that endpoints forget a pod only after a while.
        "lifecycle": {"preStop": {"sleep": {"seconds": config.drain_delay_seconds}}},
        **last_words(),
        "securityContext": security_context(writable=told.writable_root_filesystem),
    }
    if told.command:
        container["command"] = list(told.command)
    if runtime.args:
        container["args"] = list(runtime.args)
    if runtime.image_pull_policy:
        container["imagePullPolicy"] = runtime.image_pull_policy
    if sources := environment_sources(runtime):
        container["envFrom"] = sources
    return container


def scrape_annotations(spec: ModelDeploymentSpec) -> dict[str, str]:
    """By which a Prometheus finds the metrics of a server that has some."""
    told = contract_of(spec)
    if told.metrics_path is None:
        return {}
    return {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(told.port),
        "prometheus.io/path": told.metrics_path,
    }


def _variables(owner: Owner, spec: ModelDeploymentSpec, config: contract.RuntimeConfig) -> dict[str, str]:
    uri = spec.artifact.uri
    inside = uri.startswith("file://")
    path = (
        unquote(urlsplit(uri).path) if inside else f"{contract.ARTIFACT_DIRECTORY}/{contract.artifact_file_name(uri)}"
    )
    found = {
        "HOME": TMP_DIRECTORY,
        "PORT": str(contract_of(spec).port),
        "SLIPWAY_MODEL_NAME": owner.name,
        "SLIPWAY_ARTIFACT_PATH": path,
        "SLIPWAY_REQUEST_TIMEOUT_SECONDS": str(config.request_timeout_seconds),
    }
    return found | ({"SLIPWAY_ROOT_PATH": config.root_path} if config.root_path else {})


def _get(path: str) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": INFERENCE_PORT_NAME, "scheme": "HTTP"}}
