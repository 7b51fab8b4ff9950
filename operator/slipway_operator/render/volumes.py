"""Files and folders of a pod, and where its containers see them. Pure."""

from __future__ import annotations

from typing import Any, Final

from slipway_operator.api.v1alpha1 import ModelDeploymentSpec, Traffic, WarmupConfigMap
from slipway_operator.names import config_key, config_map_name
from slipway_operator.render.config_map import config_hash
from slipway_operator.render.manifest import Owner
from slipway_operator.render.resources import (
    SHARED_MEMORY_PATH,
    SHARED_MEMORY_VOLUME,
    cache_size,
    shared_memory,
)
from slipway_runtime import contract

TMP_DIRECTORY: Final = "/tmp"  # noqa: S108 - a volume of the pod, shared with nobody

_CONFIG_VOLUME: Final = "config"
_CACHE_VOLUME: Final = "cache"
_API_KEYS_VOLUME: Final = "api-keys"
_TMP_VOLUME: Final = "tmp"
_TLS_VOLUME: Final = "tls"
_WARMUP_VOLUME: Final = "warmup"
_OWNER_AND_GROUP_READ: Final = 0o440
"""The file belongs to root and to the pod's fsGroup."""

CONFIG_MOUNT: Final[dict[str, Any]] = {"name": _CONFIG_VOLUME, "mountPath": contract.CONFIG_DIRECTORY, "readOnly": True}
TMP_MOUNT: Final[dict[str, Any]] = {"name": _TMP_VOLUME, "mountPath": TMP_DIRECTORY}
_CACHE_MOUNT: Final[dict[str, Any]] = {"name": _CACHE_VOLUME, "mountPath": contract.CACHE_DIRECTORY}


def pod_volumes(owner: Owner, spec: ModelDeploymentSpec, config: contract.RuntimeConfig) -> list[dict[str, Any]]:
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
    if (source := _warmup_config_map(spec)) is not None:
        file = {"key": source.key, "path": source.key}
        # Optional, so that the runtime itself says at once which ConfigMap or key is missing: the kubelet would say it
        # in an event alone and let the pod wait.
        volumes.append({"name": _WARMUP_VOLUME, "configMap": {"name": source.name, "items": [file], "optional": True}})
    for name, (secret, _) in _secrets(spec).items():
        volumes.append({"name": name, "secret": {"secretName": secret, "defaultMode": _OWNER_AND_GROUP_READ}})
    return volumes


def runtime_mounts(spec: ModelDeploymentSpec) -> list[dict[str, Any]]:
    """Of the Slipway runtime."""
    mounts = [dict(CONFIG_MOUNT), dict(_CACHE_MOUNT), dict(TMP_MOUNT), *shared_memory_mounts(spec)]
    if (source := _warmup_config_map(spec)) is not None:
        mounts.append({"name": _WARMUP_VOLUME, "mountPath": _warmup_directory(source), "readOnly": True})
    for name, (_, directory) in _secrets(spec).items():
        mounts.append({"name": name, "mountPath": directory, "readOnly": True})
    return mounts


def artifact_mount(*, read_only: bool) -> dict[str, Any]:
    """The artifact's folder, as a container of another engine sees it; the volume is the runtime's cache."""
    mount: dict[str, Any] = {"name": _CACHE_VOLUME, "mountPath": contract.ARTIFACT_DIRECTORY}
    return mount | {"readOnly": True} if read_only else mount


def shared_memory_mounts(spec: ModelDeploymentSpec) -> list[dict[str, Any]]:
    if shared_memory(spec.resources) is None:
        return []
    return [{"name": SHARED_MEMORY_VOLUME, "mountPath": SHARED_MEMORY_PATH}]


def warmup_path(spec: ModelDeploymentSpec) -> str | None:
    """Of the file with warm-up samples; None where they are given in the manifest, or not at all."""
    source = _warmup_config_map(spec)
    return None if source is None else f"{_warmup_directory(source)}/{source.key}"


def _warmup_config_map(spec: ModelDeploymentSpec) -> WarmupConfigMap | None:
    warmup = spec.runtime and spec.runtime.warmup
    return warmup.config_map_ref if warmup else None


def _warmup_directory(source: WarmupConfigMap) -> str:
    return f"{contract.WARMUP_DIRECTORY}/{source.name}"


def _secrets(spec: ModelDeploymentSpec) -> dict[str, tuple[str, str]]:
    """Name and folder of each Secret that is mounted, by the volume's name."""
    traffic = spec.traffic or Traffic()
    found = {}
    if traffic.auth is not None:
        found[_API_KEYS_VOLUME] = (traffic.auth.api_keys_secret_ref.name, contract.API_KEYS_DIRECTORY)
    if traffic.tls is not None:
        found[_TLS_VOLUME] = (traffic.tls.secret_name, contract.TLS_DIRECTORY)
    return found
