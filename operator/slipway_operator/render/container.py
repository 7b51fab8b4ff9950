"""The container of the Slipway runtime, and what every container of a pod shares. Pure."""

from __future__ import annotations

import math
from typing import Any, Final

from slipway_operator.api.container import EnvVar
from slipway_operator.api.v1alpha1 import ModelDeploymentSpec, Rollout, Runtime
from slipway_operator.names import (
    ADMIN_PORT_NAME,
    GRPC_PORT_NAME,
    INFERENCE_PORT_NAME,
    RUNTIME_CONTAINER,
    TEMPLATE_HASH_ANNOTATION,
)
from slipway_operator.render.manifest import RenderSettings
from slipway_operator.render.resources import container_resources
from slipway_operator.render.service import service_exposure
from slipway_operator.render.volumes import TMP_DIRECTORY, runtime_mounts
from slipway_runtime import contract

STARTUP_PROBE_PERIOD_SECONDS: Final = 2
RUNTIME_ARGUMENTS: Final = ("--config", contract.CONFIG_PATH)


def runtime_container(spec: ModelDeploymentSpec, settings: RenderSettings) -> dict[str, Any]:
    runtime = spec.runtime or Runtime()
    container: dict[str, Any] = {
        "name": RUNTIME_CONTAINER,
        "image": runtime.image or settings.runtime_image,
        "args": [*RUNTIME_ARGUMENTS, *runtime.args],
        "ports": _ports(spec),
        "env": environment(runtime.env, HOME=TMP_DIRECTORY, **{contract.REVISION_VARIABLE: _REVISION}),
        "resources": container_resources(spec),
        "volumeMounts": runtime_mounts(spec),
        "startupProbe": probe(
            _get(contract.STARTUP_PATH),
            period_seconds=STARTUP_PROBE_PERIOD_SECONDS,
            failure_threshold=startup_attempts(spec),
        ),
        "readinessProbe": probe(_get(contract.READY_PATH), period_seconds=5, failure_threshold=2),
        "livenessProbe": probe(_get(contract.LIVE_PATH), period_seconds=10, failure_threshold=6),
        **last_words(),
        "securityContext": security_context(),
    }
    pull_policy = runtime.image_pull_policy or ("" if runtime.image else settings.runtime_image_pull_policy)
    if pull_policy:
        container["imagePullPolicy"] = pull_policy
    if sources := [*credentials(spec), *environment_sources(runtime)]:
        container["envFrom"] = sources
    return container


def credentials(spec: ModelDeploymentSpec) -> list[dict[str, Any]]:
    """For the container that fetches the artifact, and no other."""
    if spec.artifact.credentials is None:
        return []
    return [{"secretRef": {"name": spec.artifact.credentials.secret_ref.name}}]


def environment_sources(runtime: Runtime) -> list[dict[str, Any]]:
    return [source.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True) for source in runtime.env_from]


_REVISION: Final = {
    "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{TEMPLATE_HASH_ANNOTATION}']"}}
}


def environment(given: list[EnvVar], **own: str | dict[str, Any]) -> list[dict[str, Any]]:
    """The user's variables win over ours. HOME is ours where libraries keep caches there: the root file system is
    read-only."""
    names = {variable.name for variable in given}
    found: list[dict[str, Any]] = [
        {"name": name, **({"value": value} if isinstance(value, str) else value)}
        for name, value in own.items()
        if name not in names
    ]
    for variable in given:
        entry: dict[str, Any] = variable.model_dump(by_alias=True, exclude_none=True)
        if entry.get("value") == "":
            # The API server drops an empty value, which would look like a change by hand.
            del entry["value"]
        found.append(entry)
    return found


def probe(action: dict[str, Any], *, period_seconds: int, failure_threshold: int) -> dict[str, Any]:
    return action | {"periodSeconds": period_seconds, "timeoutSeconds": 5, "failureThreshold": failure_threshold}


def startup_attempts(spec: ModelDeploymentSpec) -> int:
    """A start may take as long as the rollout."""
    deadline_seconds = (spec.rollout or Rollout()).progress_deadline_seconds
    return math.ceil(deadline_seconds / STARTUP_PROBE_PERIOD_SECONDS)


def last_words() -> dict[str, str]:
    return {
        "terminationMessagePath": contract.TERMINATION_MESSAGE_PATH,
        # A program that dies without a word leaves the end of its log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def security_context(*, writable: bool = False) -> dict[str, Any]:
    """What Pod Security "restricted" asks of a container, and a root file system that cannot be written."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": not writable,
    }


def _get(path: str) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": ADMIN_PORT_NAME, "scheme": "HTTP"}}


def _ports(spec: ModelDeploymentSpec) -> list[dict[str, Any]]:
    numbers = {INFERENCE_PORT_NAME: contract.INFERENCE_PORT, ADMIN_PORT_NAME: contract.ADMIN_PORT}
    if service_exposure(spec).grpc_port is not None:
        numbers[GRPC_PORT_NAME] = contract.GRPC_PORT
    return [{"name": name, "containerPort": number, "protocol": "TCP"} for name, number in numbers.items()]
